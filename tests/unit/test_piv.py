"""The PIV applet: selection, data objects, PIN and PUK."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.piv import PIN, PUK, SELECT, PivCard, block, new_card
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.piv_objects import CERTIFICATES, OBJECT_MAX, PIN_PROTECTED, STANDARD, certificate_object
from virtcard.errors import Failed
from virtcard.wire.apdu import CommandApdu, ResponseApdu
from virtcard.wire.tlv import build, find


@pytest.fixture
def card(tmp_path: Path) -> PivCard:
    return new_card(tmp_path)


def get(card: PivCard, tag: str) -> ResponseApdu:
    return card.do(0xCB, 0x3F, 0xFF, build(0x5C, bytes.fromhex(tag)))


def put(card: PivCard, tag: str, content: bytes) -> int:
    return card.do(0xDB, 0x3F, 0xFF, build(0x5C, bytes.fromhex(tag)) + build(0x53, content)).sw


@pytest.mark.parametrize("name", ["A000000308000010000100", "A00000030800001000", "A000000308"])
def test_it_is_selected_by_its_aid_in_full_or_cut_on_the_right(card: PivCard, name: str) -> None:
    # SP 800-73-4 part 2, 3.1.1
    answer = card.do(0xA4, 4, 0, bytes.fromhex(name))
    assert find(answer.data, 0x61, 0x4F) == bytes.fromhex("000010000100")
    assert find(answer.data, 0x61, 0x79, 0x4F) == bytes.fromhex("A000000308")
    assert answer.sw == 0x9000


def test_other_names_select_nothing(card: PivCard) -> None:
    for name in ("A0000003", "A000000308000010000200", "A00000030800001000010000", "A000000151000000"):
        assert card.do(0xA4, 4, 0, bytes.fromhex(name)).sw == 0x6A82


def test_the_template_lists_the_algorithms_and_no_secure_messaging(card: PivCard) -> None:
    # SP 800-73-4 part 2, table 3: 27 or 2E in AC would promise secure messaging.
    algorithms = find(card.ask(SELECT).data, 0x61, 0xAC)
    assert algorithms == bytes.fromhex("8001038001058001078001088001 0A80010C800111800114800116060100")


def test_selecting_it_again_keeps_the_login(card: PivCard) -> None:
    card.verify()
    assert card.ask(SELECT).sw == 0x9000
    assert card.do(0x20, 0, 0x80).sw == 0x9000


def test_a_reset_ends_the_login(card: PivCard) -> None:
    card.administrate().verify()
    card.select()
    assert card.do(0x20, 0, 0x80).sw == 0x63C3
    assert put(card, "5FC109", b"x") == 0x6982


def test_the_discovery_object_names_the_pin_of_the_application(card: PivCard) -> None:
    # SP 800-73-4 part 1, 3.3.2
    assert get(card, "7E").data == bytes.fromhex("7E124F0BA0000003080000100001005F2F024000")


def test_the_chuid_has_what_is_mandatory(card: PivCard) -> None:
    # SP 800-73-4 part 1, table 9
    content = find(get(card, "5FC102").data, 0x53) or b""
    assert len(find(content, 0x30) or b"") == 25
    assert len(find(content, 0x34) or b"") == 16
    assert (find(content, 0x35), find(content, 0x3E), find(content, 0xFE)) == (b"20991231", b"", b"")


def test_the_ccc_has_a_card_identifier_of_21_bytes(card: PivCard) -> None:
    # SP 800-73-4 part 1, table 8
    content = find(get(card, "5FC107").data, 0x53) or b""
    assert (find(content, 0xF0) or b"")[:7] == bytes.fromhex("A000000116FF02")
    assert len(find(content, 0xF0) or b"") == 21
    assert find(content, 0xF5) == b"\x10"


def test_two_cards_have_two_guids(tmp_path: Path) -> None:
    cards = [new_card(tmp_path, name) for name in ("one", "two")]
    assert get(cards[0], "5FC102").data != get(cards[1], "5FC102").data


def test_objects_that_are_not_there_are_6a82(card: PivCard) -> None:
    for tag in ("5FC105", "5FC10C", "7F61", "5FC1", "01"):
        assert get(card, tag).sw == 0x6A82


def test_get_data_of_another_form_is_refused(card: PivCard) -> None:
    assert card.do(0xCB, 0x00, 0xFF, bytes.fromhex("5C035FC102")).sw == 0x6A86
    for data in ("", "5C", "5C00", "5C035FC1", "53035FC102", "5C035FC1025C035FC102", "5C035FC10200", "5C02007E"):
        assert card.do(0xCB, 0x3F, 0xFF, bytes.fromhex(data)).sw == 0x6A80


def test_each_certificate_has_its_object() -> None:
    # SP 800-73-4 part 1, table 3
    assert [f"{CERTIFICATES[slot]:X}" for slot in (0x9A, 0x9C, 0x9D, 0x9E)] == ["5FC105", "5FC10A", "5FC10B", "5FC101"]
    assert (CERTIFICATES[0x82], CERTIFICATES[0x95]) == (0x5FC10D, 0x5FC120)


def test_a_certificate_object_is_not_compressed() -> None:
    # SP 800-73-4 part 1, table 10
    assert certificate_object(b"\x30\x00") == bytes.fromhex("70023000 710100 FE00")


@pytest.mark.parametrize("tag", sorted(STANDARD))
def test_an_object_is_put_and_read_by_its_rule(card: PivCard, tag: int) -> None:
    # SP 800-73-4 part 1, table 2: which need the PIN.
    name, content = f"{tag:X}", b"\xa5" * 700
    assert put(card, name, content) == 0x6982
    assert put(card.administrate(), name, content) == 0x9000
    assert get(card, name).sw == (0x6982 if tag in PIN_PROTECTED else 0x9000)
    card.verify()
    assert get(card, name).data == build(0x53, content)
    assert put(card, name, b"") == 0x9000
    assert get(card, name).sw == 0x6A82


def test_fingerprints_face_iris_printed_information_and_pairing_code_need_the_pin() -> None:
    assert {f"{tag:X}" for tag in PIN_PROTECTED} == {"5FC103", "5FC108", "5FC109", "5FC121", "5FC123"}


def test_what_is_put_is_on_disk(card: PivCard, tmp_path: Path) -> None:
    put(card.administrate(), "5FC106", b"security object")
    assert card.stored.data.objects["5FC106"] == b"security object"
    assert b"5FC106" in (tmp_path / "piv.card").read_bytes()


def test_a_long_object_comes_by_a_chain_of_short_commands(card: PivCard) -> None:
    card.administrate()
    data, cla = build(0x5C, bytes.fromhex("5FC108")) + build(0x53, bytes(12_704)), 0x10
    while data:
        cla = 0x10 if len(data) > 255 else 0
        assert card.ask(CommandApdu(cla, 0xDB, 0x3F, 0xFF, data[:255])).sw == 0x9000
        data = data[255:]
    card.verify()
    assert len(get(card, "5FC108").data) == 12_708


def test_what_cannot_be_put_is_refused(card: PivCard) -> None:
    card.administrate()
    assert put(card, "5FC102", bytes(OBJECT_MAX + 1)) == 0x6A84
    assert put(card, "5FC150", b"x") == 0x6A82
    assert card.do(0xDB, 0x3F, 0xFF, bytes.fromhex("7E124F0BA0000003080000100001005F2F024000")).sw == 0x6A81
    assert card.do(0xDB, 0x00, 0xFF, bytes.fromhex("5C035FC102530100")).sw == 0x6A86
    for data in ("", "5C", "5C035FC102", "5C035FC1025401AA", "5C035FC102530100530100"):
        assert card.do(0xDB, 0x3F, 0xFF, bytes.fromhex(data)).sw == 0x6A80


def test_the_key_history_counts_retired_certificates(tmp_path: Path) -> None:
    # SP 800-73-4 part 1, 3.3.3
    card = new_card(tmp_path, algorithms=[(0x82, Algorithm.P256), (0x83, Algorithm.P256)])
    assert find(get(card, "5FC10C").data, 0x53) == bytes.fromhex("C10102 C20100 FE00")


def test_a_full_disk_is_6581_and_changes_nothing(card: PivCard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_data: object) -> None:
        raise Failed("The disk is full.")

    card.administrate()
    monkeypatch.setattr(card.stored, "save", fail)
    assert put(card, "5FC109", b"x") == 0x6581
    assert card.verify() == 0x6581
    assert "5FC109" not in card.stored.data.objects


def test_the_right_pin_logs_in(card: PivCard) -> None:
    assert card.do(0x20, 0, 0x80).sw == 0x63C3
    assert card.verify() == 0x9000
    assert card.do(0x20, 0, 0x80).sw == 0x9000


def test_p1_ff_logs_out(card: PivCard) -> None:
    # SP 800-73-4 part 2, 3.2.1
    card.verify()
    assert card.do(0x20, 0xFF, 0x80, block(PIN)).sw == 0x6A80
    assert card.do(0x20, 0xFF, 0x80).sw == 0x9000
    assert card.do(0x20, 0, 0x80).sw == 0x63C3


def test_three_wrong_pins_block(card: PivCard) -> None:
    assert [card.verify(b"654321") for _ in range(4)] == [0x63C2, 0x63C1, 0x63C0, 0x6983]
    assert card.verify() == 0x6983
    assert card.do(0x20, 0, 0x80).sw == 0x6983


def test_a_wrong_pin_ends_a_login(card: PivCard) -> None:
    card.verify()
    assert card.verify(b"654321") == 0x63C2
    assert card.do(0x20, 0, 0x80).sw == 0x63C2
    assert card.verify() == 0x9000
    card.select()
    assert card.do(0x20, 0, 0x80).sw == 0x63C3


@pytest.mark.parametrize("untrusted", [b"123456", b"123456\xff", b"1" * 9, b"1"])
def test_a_pin_of_another_length_costs_nothing(card: PivCard, untrusted: bytes) -> None:
    assert card.do(0x20, 0, 0x80, untrusted).sw == 0x6A80
    assert card.do(0x20, 0, 0x80).sw == 0x63C3


@pytest.mark.parametrize("untrusted", [b"\xff" * 8, b"12345\xff\xff\xff", b"abcdefgh", b"123456\x00\x00"])
def test_eight_bytes_of_any_other_form_are_a_wrong_pin(card: PivCard, untrusted: bytes) -> None:
    assert card.do(0x20, 0, 0x80, untrusted).sw == 0x63C2


def test_other_references_and_parameters_are_refused(card: PivCard) -> None:
    assert card.do(0x20, 1, 0x80, block(PIN)).sw == 0x6A86
    for reference in (0x00, 0x81, 0x96, 0x98):
        assert card.do(0x20, 0, reference, block(PIN)).sw == 0x6A88
    assert card.do(0x24, 1, 0x80, block(PIN) * 2).sw == 0x6A86
    assert card.do(0x24, 0, 0x00, block(PIN) * 2).sw == 0x6A88
    assert card.do(0x2C, 1, 0x80, PUK + block(PIN)).sw == 0x6A86
    assert card.do(0x2C, 0, 0x81, PUK + block(PIN)).sw == 0x6A88


def test_the_pin_changes(card: PivCard) -> None:
    assert card.do(0x24, 0, 0x80, block(PIN) + block(b"87654321")).sw == 0x9000
    assert card.verify() == 0x63C2
    assert card.verify(b"87654321") == 0x9000


@pytest.mark.parametrize("new", [b"12345", b"12345a", b"\xff" * 8, b"", b"1234567890", b"123456\x00\x00"])
def test_a_new_pin_has_six_to_eight_digits(card: PivCard, new: bytes) -> None:
    # SP 800-73-4 part 2, 2.4.3
    assert card.do(0x24, 0, 0x80, block(PIN) + block(new)).sw == 0x6A80
    assert card.do(0x2C, 0, 0x80, PUK + block(new)).sw == 0x6A80
    assert card.verify() == 0x9000


def test_a_wrong_old_pin_costs_a_try(card: PivCard) -> None:
    sent = [card.do(0x24, 0, 0x80, block(b"654321") + block(b"111111")).sw for _ in range(4)]
    assert sent == [0x63C2, 0x63C1, 0x63C0, 0x6983]


def test_the_puk_changes(card: PivCard) -> None:
    new = bytes(range(8))
    assert card.do(0x24, 0, 0x81, PUK + new).sw == 0x9000
    assert card.do(0x24, 0, 0x81, PUK + new).sw == 0x63C2
    assert card.do(0x24, 0, 0x81, new + PUK[:7]).sw == 0x6A80
    assert card.do(0x2C, 0, 0x80, new + block(b"222222")).sw == 0x9000


def test_the_puk_unblocks_the_pin(card: PivCard) -> None:
    for _ in range(3):
        card.verify(b"654321")
    assert card.do(0x2C, 0, 0x80, PUK + block(b"222222")).sw == 0x9000
    assert card.verify(b"222222") == 0x9000


def test_three_wrong_puks_block_it(card: PivCard) -> None:
    wrong = b"87654321" + block(b"222222")
    assert [card.do(0x2C, 0, 0x80, wrong).sw for _ in range(4)] == [0x63C2, 0x63C1, 0x63C0, 0x6983]
    assert card.do(0x24, 0, 0x81, PUK + PUK).sw == 0x6983
    assert card.verify() == 0x9000


def test_a_wrong_puk_counts_though_the_new_pin_has_no_form(card: PivCard) -> None:
    assert card.do(0x2C, 0, 0x80, b"\xff" * 16).sw == 0x63C2


def test_unknown_instructions_and_classes_are_refused(card: PivCard) -> None:
    assert card.do(0xCA, 0, 0).sw == 0x6D00
    assert card.ask(CommandApdu(0x80, 0xCB, 0x3F, 0xFF, b"\x5c\x01\x7e", 256)).sw == 0x6E00
