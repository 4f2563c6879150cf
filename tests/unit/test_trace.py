"""A live trace: what it keeps, what it loses, and that it holds nobody up."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from helpers.fake_card import ATR, OK, FakeCard
from virtcard import limits
from virtcard.card.audit import Audit, Ledger
from virtcard.card.trace import Trace, status
from virtcard.cli.capture import Capture
from virtcard.errors import CardAbsent, Failed

SELECT = bytes.fromhex("00A4040009A0000003080000100000")
VERIFY = b"\x00\x20\x00\x80\x06123456"
MASKED = b"\x00\x20\x00\x80\x06" + b"\xff" * 6


def masked(command: bytes) -> bytes:
    return command[:5] + b"\xff" * len(command[5:]) if command[1] == 0x20 else command


class Lab:
    """A traced card. `woken` counts the calls of `wake`."""

    def __init__(self, card: FakeCard | None = None) -> None:
        self.woken = 0
        self.ledger = Ledger()
        self.card = Audit(card or FakeCard(), self.ledger)
        self.trace = Trace(masked, self._wake, lambda: 1_700_000_000_000_000_000)
        self.ledger.tap(self.trace)

    def _wake(self) -> None:
        self.woken += 1

    def taken(self) -> bytes:
        return b"".join(iter(self.trace.take, b""))


def blocks(capture: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each block; both lengths must agree."""
    while capture:
        kind, length = struct.unpack_from("<II", capture)
        assert struct.unpack_from("<I", capture, length - 4) == (length,)
        assert length % 4 == 0
        yield kind, capture[8 : length - 4]
        capture = capture[length:]


def test_commands_and_answers_are_packets_in_order() -> None:
    lab = Lab(FakeCard(answers={SELECT: b"\x61\x11"}))
    lab.card.transmit(SELECT)
    lab.card.transmit(VERIFY)
    bodies = [body for kind, body in blocks(lab.taken()) if kind == 6]
    assert len(bodies) == 4
    assert [part in body for part, body in zip([SELECT, b"\x61\x11", MASKED, OK], bodies, strict=True)] == [True] * 4
    assert (lab.trace.commands, lab.trace.received, lab.trace.dropped) == (2, 4, 0)


def test_a_pin_is_masked_before_anything_is_kept() -> None:
    lab = Lab()
    lab.card.transmit(VERIFY)
    assert "123456" not in repr(lab.trace._waiting)
    assert b"123456" not in lab.taken()


def test_a_comment_names_the_instruction_and_the_status() -> None:
    lab = Lab(FakeCard(default=b"\x69\x82"))
    lab.card.transmit(VERIFY)
    capture = lab.taken()
    assert b"VERIFY\0" in capture
    assert b"VERIFY: 6982 SECURITY STATUS NOT SATISFIED" in capture


@pytest.mark.parametrize(
    ("response", "words"),
    [(b"\x90\x00", "9000 OK"), (b"data\x6a\x82", "6A82 FILE NOT FOUND"), (b"\x63\xc2", "63C2"), (b"\x61\x00", "6100")],
)
def test_a_status_in_words(response: bytes, words: str) -> None:
    assert status(response) == words


def test_the_atr_of_a_card_that_comes_is_a_packet() -> None:
    lab = Lab()
    lab.card.power_on()
    assert ATR in lab.taken()


def test_an_answer_that_did_not_come_is_told_with_the_next_packet() -> None:
    lab = Lab(FakeCard(answers={SELECT: CardAbsent("It was pulled.")}))
    with pytest.raises(CardAbsent):
        lab.card.transmit(SELECT)
    lab.card.transmit(VERIFY)
    assert b"The card gave no answer to the command before. VERIFY" in lab.taken()


def test_a_refused_command_is_told_by_its_header() -> None:
    lab = Lab()
    lab.ledger.refused(b"\x00\xdb\x3f\xff", "instruction")
    assert b"PUT DATA: refused by the guard (instruction)" in lab.taken()


def test_a_header_that_is_cut_short_is_told_too() -> None:
    lab = Lab()
    lab.ledger.refused(b"\x00", "length")
    assert b"refused by the guard (length)" in lab.taken()


def test_nothing_is_kept_of_what_passes_when_the_trace_is_over() -> None:
    lab = Lab()
    lab.ledger.untap(lab.trace)
    lab.card.transmit(SELECT)
    assert lab.taken() == b""


def test_two_traces_hear_the_same() -> None:
    lab = Lab()
    other = Trace(masked, lambda: None)
    lab.ledger.tap(other)
    lab.card.transmit(SELECT)
    assert (lab.trace.received, other.received) == (2, 2)


def test_who_sleeps_is_woken_once() -> None:
    lab = Lab()
    for _ in range(10):
        lab.card.transmit(SELECT)
    assert lab.woken == 1
    lab.taken()
    lab.card.transmit(SELECT)
    assert lab.woken == 2


def test_more_packets_than_fit_are_lost_and_counted() -> None:
    lab = Lab()
    for _ in range(limits.TRACE_PACKETS_MAX):
        lab.card.transmit(SELECT)
    assert lab.trace.dropped == limits.TRACE_PACKETS_MAX
    lab.taken()
    lab.card.transmit(SELECT)
    first, _ = [body for _, body in blocks(lab.taken())]
    assert struct.pack("<HHQ", 4, 8, limits.TRACE_PACKETS_MAX) in first


def test_more_bytes_than_fit_are_lost_and_counted() -> None:
    lab = Lab(FakeCard(default=bytes(65536) + OK))
    for _ in range(100):
        lab.card.transmit(SELECT)
    assert 0 < lab.trace.dropped < 100
    assert len(lab.taken()) < limits.TRACE_BYTES_MAX + 1024 * 1024
    lab.card.transmit(SELECT)
    assert b"\x90\x00" in lab.taken()


def test_a_reader_counts_commands_and_what_was_lost() -> None:
    lab = Lab()
    for _ in range(3):
        lab.card.transmit(VERIFY)
    lab.trace.dropped = 5
    capture = lab.trace.begin("win11") + lab.taken() + lab.trace.end()
    reader = Capture()
    assert b"".join(reader.feed(bytes((byte,))) for byte in capture) == capture
    assert (reader.commands, reader.lost) == (3, 5)


def test_a_reader_passes_on_whole_blocks_alone() -> None:
    reader = Capture()
    begin = Lab().trace.begin("win11")
    assert reader.feed(begin[:-1]) != begin[:-1]
    assert all(kind in {0x0A0D0D0A, 1} for kind, _ in blocks(Capture().feed(begin[:-1])))


@pytest.mark.parametrize("length", [0, 11, 13, limits.CAPTURE_BLOCK_MAX + 4, 2**32 - 4])
def test_a_reader_believes_no_impossible_length(length: int) -> None:
    with pytest.raises(Failed):
        Capture().feed(struct.pack("<II", 6, length))


def test_a_packet_without_flags_is_no_command() -> None:
    reader = Capture()
    body = struct.pack("<IIIII", 0, 0, 0, 2**32 - 1, 4) + b"\0\0\0\0"
    reader.feed(struct.pack("<II", 6, len(body) + 12) + body + struct.pack("<I", len(body) + 12))
    assert reader.commands == 0
