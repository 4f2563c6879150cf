"""The CAC card, command by command (GSC-IS 2.1, NIST IR 6887, 2003)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import cac
from helpers.cac import ACA, CCC, PIN, CacCard, pki
from virtcard.card.soft.cac import CARD_MANAGER, PLUG_AND_PLAY
from virtcard.card.soft.iso7816 import ATR
from virtcard.wire import tlv
from virtcard.wire.atr import parse

OK = 0x9000
EMPTY = ("0200", "0201", "02FB", "02FE", "02FD", "1201", "1202")
STATUS_CLASSES = (0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x6F, 0x90)


@pytest.fixture
def card() -> CacCard:
    return CacCard()


def test_the_atr_is_t0_and_not_libcacards() -> None:
    parsed = parse(ATR)
    assert parsed.protocols == (0,)
    assert b"virtcard" in parsed.historical
    assert bytes.fromhex("3B7A18000073667465206364313434") != ATR


@pytest.mark.parametrize("name", [ACA, CCC, CARD_MANAGER, PLUG_AND_PLAY, *map(pki, range(3))])
def test_an_applet_is_selected_by_its_name(card: CacCard, name: bytes) -> None:
    answer = card.select(name)
    assert (answer.sw, tlv.find(answer.data, 0x6F, 0x84)) == (OK, name)


@pytest.mark.parametrize("name", ["A0000000790103", "A000000308000010000100", "A000000079", "A00000000300000000", ""])
def test_any_other_name_is_not_found(card: CacCard, name: str) -> None:
    assert card.select(bytes.fromhex(name)).sw == 0x6A82


def test_select_without_le_announces_its_template(card: CacCard) -> None:
    assert card.card.transmit(bytes.fromhex("00A4040007A0000000790100")) == bytes.fromhex("610D")


@pytest.mark.parametrize("number", range(3))
def test_a_certificate_is_delivered_uncompressed(card: CacCard, number: int) -> None:
    card.select(pki(number))
    fields = dict(card.fields())
    assert (fields[0x70], fields[0x71]) == (cac.certificates()[number], b"\0")


def test_both_buffers_begin_with_their_length_in_little_endian(card: CacCard) -> None:
    card.select(pki(0))
    size = len(cac.certificates()[0]) + 1
    assert card.ask(0x52, data=b"\2\2").data == size.to_bytes(2, "little")
    # 70 FF and two bytes of length; 71 01; 72 00; FE 00
    assert card.ask(0x52, data=b"\1\2").data == (10).to_bytes(2, "little")


@pytest.mark.parametrize("object_id", EMPTY)
def test_containers_about_a_person_are_there_and_empty(card: CacCard, object_id: str) -> None:
    name = bytes.fromhex(f"A000000079{object_id}")
    assert card.select(name).sw == OK
    assert card.ask(0xA4, 2, 0, bytes.fromhex(object_id)).sw == OK
    assert (card.read(1), card.read(2)) == (b"", b"")


@pytest.mark.parametrize("object_id", ["02F0", "02F1", "02F2"])
def test_applets_without_objects_have_nothing_to_read(card: CacCard, object_id: str) -> None:
    assert card.select(bytes.fromhex(f"A000000079{object_id}")).sw == OK
    assert card.ask(0x52, data=b"\1\2").sw == 0x6985
    assert card.ask(0xA4, 2, 0, bytes.fromhex(object_id)).sw == 0x6A82


def test_the_capability_container_names_every_certificate(card: CacCard) -> None:
    card.select(CCC)
    fields = card.fields()
    urls = [value for tag, value in fields if tag == 0xF3]
    for number in range(3):
        object_id = bytes((1, number))
        assert bytes.fromhex("A00000007904") + object_id + object_id + bytes(6) in urls
    assert bytes.fromhex("A0000001160160103000000000000000") in urls
    assert all(len(url) == 16 for url in urls)
    assert [tag for tag, _ in fields if tag != 0xF3] == [
        *(0xF0, 0xF1, 0xF2, 0xF4, 0xF5, 0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE)
    ]


def test_the_capability_container_names_the_applet_with_the_rules(card: CacCard) -> None:
    card.select(CCC)
    assert dict(card.fields())[0xF6] == b"\7" + ACA + bytes(9)


def test_the_unique_identifier_is_the_cards_own(card: CacCard) -> None:
    card.select(CCC)
    assert dict(card.fields())[0xF0][7:] == card.token.identity[:10]


@pytest.mark.parametrize(("number", "eighths"), [(0, 0x20), (1, 0x10), (2, 0x40)])
def test_properties_tell_the_size_of_the_key(card: CacCard, number: int, eighths: int) -> None:
    card.select(pki(number))
    told = card.ask(0x56, 1).data
    assert told.startswith(bytes.fromhex("0105100206000040 01 01 51 11 41 02 01") + bytes((number,)))
    sizes = b"".join((len(card.read(which)) + 2).to_bytes(2, "little") for which in (1, 2))
    assert told[16:] == b"\x42\5\0" + sizes + bytes.fromhex("4304 06") + bytes((eighths, 1, 1))


def test_properties_of_a_container_have_no_key(card: CacCard) -> None:
    card.select(CCC)
    assert card.ask(0x56, 1).data[10:14] == bytes.fromhex("500B4102")


def test_properties_by_tag_list(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0x56, 2, data=b"\x40").data == bytes.fromhex("400101")
    assert (card.ask(0x56, 0).sw, card.ask(0x56, 0x40).sw) == (0x6A86, 0x6A86)


def test_reading_over_the_end_gives_what_is_there(card: CacCard) -> None:
    card.select(pki(0))
    size = len(cac.certificates()[0]) + 3
    answer = card.ask(0x52, (size - 5) >> 8, (size - 5) & 0xFF, b"\2\xf0")
    assert answer.data == cac.certificates()[0][-4:] + b"\0"


def test_reading_behind_the_end_is_a_wrong_offset(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0x52, 0xFF, 0, b"\2\2").sw == 0x6A86
    assert card.ask(0x52, data=b"\3\2").sw == 0x6A80
    assert card.ask(0x52, data=b"\2").sw == 0x6700


def test_nothing_is_written(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0x58, data=b"\2\2").sw == 0x6985


def test_an_object_that_is_not_in_the_applet_is_not_found(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0xA4, 2, 0, b"\1\1").sw == 0x6A82
    assert card.ask(0xA4, 0, 0, b"\1\0").sw == 0x6A81
    assert card.ask(0x52, data=b"\1\2").sw == OK


# The PIN.


def test_a_wrong_pin_counts_down_to_blocked(card: CacCard) -> None:
    card.select(ACA)
    assert [card.verify(b"9999") for _ in range(4)] == [0x63C2, 0x63C1, 0x63C0, 0x6983]
    assert card.verify() == 0x6983
    assert card.ask(0x20, le=None).sw == 0x6983


def test_verify_without_data_asks_for_the_tries(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0x20, le=None).sw == 0x63C3
    assert card.verify() == OK
    assert card.ask(0x20, le=None).sw == OK


def test_a_pin_may_come_without_padding(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0x20, data=PIN, le=None).sw == OK


def test_verify_knows_one_pin_only(card: CacCard) -> None:
    card.select(pki(0))
    assert card.ask(0x20, 0, 1, PIN, None).sw == 0x6A86
    assert card.token.tries_left == 3


def test_the_pin_holds_in_every_applet_until_a_reset(card: CacCard) -> None:
    card.select(ACA)
    assert card.verify() == OK
    card.select(pki(0))
    assert card.sign(bytes(256)).sw == OK
    card.card.reset()
    card.select(pki(0))
    assert card.sign(bytes(256)).sw == 0x6982


# Keys.


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("part", [100, 240, 512])
def test_a_block_is_raised_to_the_private_exponent(card: CacCard, number: int, part: int) -> None:
    public = cac.keys()[number].public_key().public_numbers()
    block = b"\0" + random.randbytes(cac.SIZES[number] // 8 - 1)
    card.select(pki(number))
    card.verify()
    answer = card.sign(block, part)
    assert answer.sw == OK
    assert pow(int.from_bytes(answer.data, "big"), public.e, public.n) == int.from_bytes(block, "big")


def test_a_long_answer_comes_by_get_response(card: CacCard) -> None:
    card.select(pki(2))
    card.verify()
    for start in range(0, 480, 240):
        card.ask(0x42, 0x80, 0, bytes(240) if start else b"\0\2" + bytes(238))
    assert card.card.transmit(bytes.fromhex("8042000020") + bytes(32)) == bytes.fromhex("6100")
    first, second = (card.card.transmit(bytes.fromhex("00C0000000")) for _ in range(2))
    assert (len(first), first[-2:], len(second), second[-2:]) == (258, b"\x61\x00", 258, b"\x90\x00")


@pytest.mark.parametrize("size", [1, 255, 257, 500])
def test_a_block_of_another_length_is_refused(card: CacCard, size: int) -> None:
    card.select(pki(0))
    card.verify()
    assert card.sign(bytes(size)).sw == 0x6984


def test_a_block_above_the_modulus_is_incorrect_data(card: CacCard) -> None:
    card.select(pki(0))
    card.verify()
    assert card.sign(b"\xff" * 256).sw == 0x6A80


def test_another_command_gives_up_a_block(card: CacCard) -> None:
    card.select(pki(0))
    card.verify()
    assert card.ask(0x42, 0x80, 0, bytes(200)).sw == OK
    card.ask(0x56, 1)
    assert card.ask(0x42, 0, 0, bytes(56)).sw == 0x6984


def test_signing_has_two_parameters_and_needs_a_key(card: CacCard) -> None:
    card.select(CCC)
    assert card.ask(0x42, 0, 0, bytes(256)).sw == 0x6985
    card.select(pki(0))
    assert card.ask(0x42, 1, 0, bytes(256)).sw == 0x6A86


# The tables of the access control applet.


@pytest.mark.parametrize(("p1", "tag"), [(0x00, 0xA1), (0x10, 0x81), (0x20, 0x91), (0x21, 0x94)])
def test_a_table_begins_with_the_applets_version_and_its_length(card: CacCard, p1: int, tag: int) -> None:
    card.select(ACA)
    told = card.ask(0x4C, p1).data
    assert told[:9] == bytes.fromhex("01051002060000") + bytes((tag, 1))


def test_the_service_table_has_true_names(card: CacCard) -> None:
    card.select(ACA)
    told = card.ask(0x4C, 0x21).data[10:]
    names = []
    while told:
        assert (told[0], told[1], told[3], told[4]) == (0x93, 10, 0x92, 7)
        names.append(told[5:12])
        told = told[12:]
    assert {CCC, *map(pki, range(3))} <= set(names)
    assert all(card.select(name).sw == OK for name in names)


def test_a_key_wants_the_pin_and_reading_wants_nothing(card: CacCard) -> None:
    card.select(ACA)
    (told,) = (card.ask(0x4C, 0x12, data=b"\1\0").data,)
    assert bytes.fromhex("0100 580001 520000 420006") in told
    assert card.ask(0x4C, 0x01, data=b"\6").data.endswith(bytes.fromhex("A005 06 06 01 1E00"))
    assert card.ask(0x4C, 0x11, data=pki(0)).sw == OK


def test_tables_that_do_not_exist(card: CacCard) -> None:
    card.select(ACA)
    assert card.ask(0x4C, 0x40).sw == 0x6A86
    assert card.ask(0x4C, 0x00, data=b"\0").sw == 0x6700
    assert card.ask(0x4C, 0x01, data=b"\x77").sw == 0x6A88
    card.select(CCC)
    assert card.ask(0x4C, 0).sw == 0x6D00


# What is asked of any card.


def test_windows_is_told_a_name_that_is_nobody_elses(card: CacCard) -> None:
    card.select(PLUG_AND_PLAY)
    told = card.ask(0xCA, 0x7F, 0x68).data
    assert tlv.find(told, 0x30, 0x16) == b"virtcard"
    guid = tlv.find(told, 0x30, 0x30, 0x04)
    assert guid is not None
    assert len(guid) == 16
    assert guid != bytes.fromhex("E280E9D25188874F81D64F254E38001D")


def test_the_card_manager_tells_a_serial_only(card: CacCard) -> None:
    card.select(CARD_MANAGER)
    told = tlv.find(card.ask(0xCA, 0x9F, 0x7F).data, 0x9F7F)
    assert told is not None
    assert (len(told), told[12:16]) == (42, card.token.identity[:4])
    assert card.ask(0xCA, 0x00, 0x66).sw == 0x6A88


def test_get_challenge_is_random(card: CacCard) -> None:
    card.select(pki(0))
    first, second = (card.ask(0x84, le=8).data for _ in range(2))
    assert (len(first), len(second)) == (8, 8)
    assert first != second


# Whatever arrives.

NAMES = (ACA, CCC, CARD_MANAGER, PLUG_AND_PLAY, bytes.fromhex("A0000001163000"), pki(0), pki(2))
HEADERS = st.tuples(
    st.sampled_from((0x00, 0x80, 0x10, 0x90, 0x84, 0x0C)),
    st.sampled_from((0x20, 0x42, 0x4C, 0x52, 0x56, 0x58, 0x84, 0xA4, 0xC0, 0xCA)),
    st.sampled_from((0, 1, 2, 4, 0x10, 0x11, 0x12, 0x20, 0x21, 0x80, 0xFF)),
    st.sampled_from((0, 1, 0x0C, 0xFF)),
).map(bytes)
COMMANDS = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda header, data, le: header + (bytes((len(data),)) + data if data else b"") + le,
              HEADERS, st.binary(max_size=255), st.sampled_from((b"", b"\0", b"\x10"))),
    st.sampled_from(NAMES).map(lambda name: bytes.fromhex("00A40400") + bytes((len(name),)) + name),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(COMMANDS, max_size=12), st.booleans())
def test_any_bytes_get_a_status_word_of_the_standard(commands: list[bytes], is_verified: bool) -> None:
    card = CacCard()
    card.token.verified = is_verified
    for command in commands:
        answer = card.card.transmit(command)
        assert answer[-2] in STATUS_CLASSES
        assert len(answer) <= 258
