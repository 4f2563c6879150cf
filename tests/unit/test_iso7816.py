"""The card layer below the applets: classes, selection, chains, answers in parts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.card.base import Card, Transmission
from virtcard.card.soft.chaining import CHAINED_MAX
from virtcard.card.soft.iso7816 import ATR, HISTORICAL, SoftCard
from virtcard.errors import CardAbsent, Failed
from virtcard.wire import atr
from virtcard.wire.apdu import CommandApdu, ResponseApdu

AID = bytes.fromhex("F0766972740001")
OTHER_AID = bytes.fromhex("F0766972740002")
RID = AID[:5]


class Echo:
    """An applet that gives back its data, or P1P2 bytes for INS 10; INS 12 fails as a full disk does."""

    def __init__(self, aid: bytes) -> None:
        self.aid = aid
        self.commands: list[CommandApdu] = []
        self.resets = 0

    def matches(self, untrusted_aid: bytes) -> bool:
        return len(untrusted_aid) >= 5 and self.aid.startswith(untrusted_aid)

    def select(self) -> ResponseApdu:
        return ResponseApdu(b"\x61\x00")

    def command(self, command: CommandApdu) -> ResponseApdu:
        self.commands.append(command)
        if command.ins == 0x12:
            raise Failed("The disk is full.")
        if command.ins == 0x10:
            return ResponseApdu(bytes(command.p1 << 8 | command.p2))
        return ResponseApdu(command.data)

    def reset(self) -> None:
        self.resets += 1


class Bench:
    """A card of two such applets."""

    def __init__(self) -> None:
        self.closed = 0
        self.first, self.second = Echo(AID), Echo(OTHER_AID)
        self.card = SoftCard((self.first, self.second), ATR, self.close)
        self.card.power_on()

    def close(self) -> None:
        self.closed += 1

    def send(self, command: str) -> str:
        """Hexadecimal to hexadecimal."""
        return self.card.transmit(bytes.fromhex(command)).hex().upper()

    def select(self, aid: bytes = AID) -> str:
        return self.send(f"00A40400{len(aid):02X}{aid.hex()}00")


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def selected(bench: Bench) -> Bench:
    assert bench.select() == "61009000"
    return bench


def test_it_is_a_card(bench: Bench) -> None:
    card: Card = bench.card
    assert card.transmission is Transmission.T0


def test_the_atr_names_no_product_and_only_t0() -> None:
    parsed = atr.parse(ATR)
    assert parsed.protocols == (0,)
    assert parsed.historical == HISTORICAL
    assert ATR.hex(" ").upper() == "3B 0E 80 58 76 69 72 74 63 61 72 64 73 C0 21 C0"


def test_the_historical_bytes_are_compact_tlv() -> None:
    # ISO 7816-4, 8.1.1: category 80, then objects whose first byte is tag and length.
    found, rest = {}, HISTORICAL[1:]
    while rest:
        size = rest[0] & 0x0F
        found[rest[0] >> 4], rest = rest[1 : 1 + size], rest[1 + size :]
    assert HISTORICAL[0] == 0x80
    assert found == {5: b"virtcard", 7: b"\xc0\x21\xc0"}


def test_nothing_is_selected_at_first(bench: Bench) -> None:
    assert bench.send("00100010") == "6D00"


@pytest.mark.parametrize("aid", [AID, AID[:6], RID])
def test_an_applet_is_selected_by_its_name_in_full_or_cut(bench: Bench, aid: bytes) -> None:
    assert bench.select(aid) == "61009000"
    assert bench.send("0010000404") == "000000009000"


def test_selecting_nothing_known_keeps_the_selection(selected: Bench) -> None:
    assert selected.select(b"\xa0\x00\x00\x00\x00") == "6A82"
    assert selected.send("00A4040000") == "6A82"
    assert selected.send("0010000101") == "009000"
    assert selected.first.resets == 1


def test_selecting_another_applet_resets_the_one_before(selected: Bench) -> None:
    selected.select(OTHER_AID)
    assert (selected.first.resets, selected.second.resets) == (2, 1)
    selected.select(OTHER_AID)
    assert selected.second.resets == 1


def test_select_without_fci_answers_nothing(bench: Bench) -> None:
    assert bench.send(f"00A4040C07{AID.hex()}") == "9000"
    assert bench.send(f"00A4040207{AID.hex()}") == "6A86"


@pytest.mark.parametrize(
    ("cla", "status"),
    [
        ("01", "6881"),
        ("41", "6881"),
        ("83", "6881"),
        ("04", "6882"),
        ("0C", "6882"),
        ("84", "6882"),
        ("20", "6E00"),
        ("A0", "6E00"),
        ("FF", "6E00"),
    ],
)
def test_channels_secure_messaging_and_other_classes_are_refused(selected: Bench, cla: str, status: str) -> None:
    assert selected.send(f"{cla}10000101") == status
    assert selected.first.commands == []


def test_a_proprietary_class_reaches_the_applet(selected: Bench) -> None:
    assert selected.send("8010000101") == "009000"
    assert selected.first.commands[-1].cla == 0x80


def test_logical_channels_are_not_opened(selected: Bench) -> None:
    assert selected.send("0070000001") == "6881"


@pytest.mark.parametrize("command", ["", "00", "00A404", "00A4040005F0", "001000000000", "00A40400050102"])
def test_a_command_of_no_shape_is_6700(selected: Bench, command: str) -> None:
    assert selected.send(command) == "6700"
    assert selected.send("0010000101") == "009000"


def test_an_oversized_command_is_6700(selected: Bench) -> None:
    assert selected.card.transmit(bytes(65_545)) == b"\x67\x00"
    assert selected.card.transmit(bytes(100_000)) == b"\x67\x00"


def test_an_answer_without_le_waits_for_get_response(selected: Bench) -> None:
    assert selected.send("00FE000003010203") == "6103"
    assert selected.send("00C0000003") == "0102039000"
    assert selected.send("00C0000003") == "6985"


def test_an_answer_with_le_comes_at_once(selected: Bench) -> None:
    assert selected.send("00FE00000301020300") == "0102039000"
    assert selected.send("00FE00000301020302") == "01026101"
    assert selected.send("00C0000000") == "039000"


def test_a_wrong_le_without_data_tells_the_right_one(selected: Bench) -> None:
    assert selected.send("0010003001") == "6C30"
    assert selected.send("0010003030") == "00" * 0x30 + "9000"


def test_300_bytes_come_in_two_parts(selected: Bench) -> None:
    assert selected.send("0010012C00") == "00" * 256 + "612C"
    assert selected.send("00C000002C") == "00" * 44 + "9000"


def test_get_response_without_le_gives_up_to_256_bytes(selected: Bench) -> None:
    # In T=0 a command without data has a P3 of 00, which is also Le = 256 (ISO 7816-3, 12.2.2).
    assert selected.send("00100130") == "6100"
    assert selected.send("00C00000") == "00" * 256 + "6130"
    assert selected.send("00C00000") == "00" * 48 + "9000"


def test_an_extended_le_takes_all_at_once(selected: Bench) -> None:
    assert selected.send("0010FFFF000000") == "00" * 65_535 + "9000"


def test_another_command_gives_up_the_rest_of_an_answer(selected: Bench) -> None:
    selected.send("0010012C00")
    selected.send("0010000101")
    assert selected.send("00C0000000") == "6985"


def test_a_malformed_get_response_keeps_the_rest(selected: Bench) -> None:
    selected.send("0010012C00")
    assert selected.send("00C0010000") == "6A86"
    assert selected.send("00C0000001AA") == "6700"
    assert selected.send("00C0000000") == "00" * 44 + "9000"


def test_a_chain_is_one_command(selected: Bench) -> None:
    assert selected.send("10FE0102020A0B") == "9000"
    assert selected.send("10FE0102010C") == "9000"
    assert selected.send("00FE0102010D00") == "0A0B0C0D9000"
    assert [(command.cla, command.data) for command in selected.first.commands] == [(0, b"\x0a\x0b\x0c\x0d")]


@pytest.mark.parametrize("other", ["00FE0103010D00", "00FD0102010D00", "80FE0102010D00", "00FE0202010D00"])
def test_a_command_that_does_not_go_on_breaks_the_chain(selected: Bench, other: str) -> None:
    selected.send("10FE0102020A0B")
    assert selected.send(other) == "0D9000"
    assert selected.send("00FE0102010E00") == "0E9000"


@pytest.mark.parametrize("other", ["", "00FE01", "00FE010205AA", "20FE0102010D00", "01FE0102010D00", "00C0000000"])
def test_what_is_no_part_of_it_breaks_a_chain_even_when_it_is_no_command(selected: Bench, other: str) -> None:
    selected.send("10FE0102020A0B")
    assert selected.send(other)[:1] == "6"
    assert selected.send("00FE0102010E00") == "0E9000"


def test_a_chain_is_bounded(selected: Bench) -> None:
    part = "10FE0000FF" + "AA" * 255
    sent = [selected.send(part) for _ in range(CHAINED_MAX // 255 + 1)]
    assert sent[-1] == "6700"
    assert set(sent[:-1]) == {"9000"}
    assert selected.first.commands == []


def test_a_long_part_of_a_chain_is_bounded_too(selected: Bench) -> None:
    assert selected.send("10FE0000" + "00FFFF" + "AA" * 65_535) == "6700"


def test_a_reset_forgets_chain_answer_and_selection(selected: Bench) -> None:
    selected.send("10FE0102020A0B")
    assert selected.card.reset() == ATR
    assert selected.send("00FE0102010D00") == "6D00"
    selected.select()
    selected.send("0010012C00")
    selected.card.reset()
    assert selected.send("00C0000000") == "6985"


def test_get_challenge_is_random(selected: Bench) -> None:
    first, second = (selected.card.transmit(bytes.fromhex("0084000010")) for _ in range(2))
    assert first != second
    assert (len(first), first[-2:]) == (18, b"\x90\x00")
    assert len(selected.card.transmit(bytes.fromhex("0084000000"))) == 258


def test_get_challenge_without_le_gives_eight_bytes(bench: Bench) -> None:
    assert bench.send("00840000") == "6108"
    assert bench.send("0084000100") == "6A86"
    assert bench.send("0084000001AA") == "6700"


def test_a_card_that_cannot_be_saved_is_a_memory_failure(selected: Bench) -> None:
    assert selected.send("00120000") == "6581"


def test_power_off_resets_and_closes_once(selected: Bench) -> None:
    selected.card.power_off()
    selected.card.power_off()
    assert selected.closed == 1
    assert selected.first.resets == 2


def test_a_closed_card_is_absent(bench: Bench) -> None:
    bench.card.power_off()
    for use in (bench.card.power_on, bench.card.reset, lambda: bench.card.transmit(b"\0\0\0\0")):
        with pytest.raises(CardAbsent):
            use()


@given(st.lists(st.binary(max_size=600), max_size=12))
def test_any_bytes_get_a_status_word(commands: list[bytes]) -> None:
    bench = Bench()
    bench.select()
    for command in commands:
        answer = bench.card.transmit(command)
        assert len(answer) >= 2
        assert answer[-2] in (0x61, 0x65, 0x67, 0x68, 0x69, 0x6A, 0x6C, 0x6D, 0x6E, 0x90)


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_chain_of_any_parts_joins_to_the_same(data: bytes, draw: st.DataObject) -> None:
    bench = Bench()
    bench.select()
    rest = data
    while rest:
        size = draw.draw(st.integers(1, min(255, len(rest))))
        part, rest = rest[:size], rest[size:]
        bench.card.transmit(CommandApdu(0x10 if rest else 0, 0xFE, 0, 0, part).encode())
    assert bench.first.commands[-1].data == data


@given(st.integers(0, 3000), st.lists(st.integers(1, 256), min_size=1))
def test_an_answer_in_any_parts_is_the_same(size: int, parts: list[int]) -> None:
    bench = Bench()
    bench.select()
    answer = ResponseApdu.parse(bench.card.transmit(CommandApdu(0, 0x10, size >> 8, size & 0xFF).encode()))
    got = answer.data
    for le in itertools.cycle(parts):
        if answer.sw1 != 0x61:
            break
        answer = ResponseApdu.parse(bench.card.transmit(CommandApdu(0, 0xC0, 0, 0, b"", le).encode()))
        got += answer.data
    assert (got, answer.sw) == (bytes(size), 0x9000)
