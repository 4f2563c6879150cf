"""The audit of a card: what is counted, and that the card's answers pass as they are."""

from __future__ import annotations

import pytest

from helpers.fake_card import ATR, OK, FakeCard
from virtcard.card.audit import Audit, Counts, Ledger
from virtcard.card.base import Card, CardEvent, Transmission
from virtcard.errors import CardAbsent
from virtcard.wire.instructions import NAMES, PIN_INSTRUCTIONS, instruction_name

SELECT = bytes.fromhex("00A4040009A0000003080000100000")
PIN = b"123456\xff\xff"
VERIFY = b"\x00\x20\x00\x80\x08" + PIN
TRIES_LEFT = b"\x63\xc2"
BLOCKED = b"\x69\x83"


def audited(card: FakeCard) -> tuple[Card, Ledger]:
    ledger = Ledger()
    return Audit(card, ledger), ledger


def after(command: bytes, answer: bytes) -> Counts:
    """What is counted when a card gives this answer to this command."""
    card, ledger = audited(FakeCard(default=answer))
    assert card.transmit(command) == answer
    return ledger.counts()


def test_commands_are_counted_by_the_name_of_their_instruction() -> None:
    card, ledger = audited(FakeCard())
    for command in (SELECT, SELECT, VERIFY, b"\x80\xf8\x00\x00"):
        assert card.transmit(command) == OK
    assert ledger.counts().commands == {"SELECT": 2, "VERIFY": 1, "INS F8": 1}


def test_both_instructions_of_a_command_count_under_its_one_name() -> None:
    card, ledger = audited(FakeCard())
    card.transmit(b"\x00\xca\x00\x65\x00")
    card.transmit(b"\x00\xcb\x3f\xff\x03\x5c\x01\x7e\x00")
    assert ledger.counts().commands == {"GET DATA": 2}


def test_bytes_are_counted_in_both_directions() -> None:
    counts = after(SELECT, b"\x61\x11")
    assert (counts.bytes_sent, counts.bytes_received) == (len(SELECT), 2)


@pytest.mark.parametrize("answer", [b"\x63\xc2", b"\x63\xc0", b"\x63\x00", b"\x69\x83"])
@pytest.mark.parametrize("instruction", sorted(PIN_INSTRUCTIONS))
def test_a_wrong_or_blocked_pin_is_a_failure(instruction: int, answer: bytes) -> None:
    command = bytes((0, instruction, 0, 0x80, len(PIN))) + PIN
    assert after(command, answer).pin_failures == 1


@pytest.mark.parametrize(
    "command",
    [
        VERIFY,
        b"\x0c" + VERIFY[1:],
        b"\x01" + VERIFY[1:],
        b"\x00\x20\x00\x80\x00\x00\x08" + PIN,
        b"\x00\x20\x00\x80\x00\x00\x08" + PIN + b"\x00\x00",
        VERIFY + b"\x00",
        b"\x00\x20\x00\x80\x01\x31",
    ],
)
def test_a_wrong_pin_is_one_in_any_class_and_length(command: bytes) -> None:
    assert after(command, TRIES_LEFT).pin_failures == 1


@pytest.mark.parametrize(
    "query", [b"\x00\x20\x00\x80", b"\x00\x20\x00\x80\x00", b"\x00\x20\x00\x80\x00\x00\x00", b"\x00\x20\xff\x80"]
)
@pytest.mark.parametrize("answer", [TRIES_LEFT, BLOCKED])
def test_asking_how_many_tries_are_left_is_no_failure(query: bytes, answer: bytes) -> None:
    assert after(query, answer).pin_failures == 0


@pytest.mark.parametrize(
    ("command", "answer"),
    [(VERIFY, OK), (VERIFY, b"\x69\x82"), (VERIFY, b"\x6a\x80"), (SELECT, TRIES_LEFT), (SELECT, BLOCKED)],
)
def test_anything_else_is_no_wrong_pin(command: bytes, answer: bytes) -> None:
    assert after(command, answer).pin_failures == 0


def test_a_card_that_does_not_answer_is_an_error_and_says_so() -> None:
    card, ledger = audited(FakeCard(default=CardAbsent("The card was pulled.")))
    with pytest.raises(CardAbsent):
        card.transmit(SELECT)
    assert ledger.counts() == Counts({"SELECT": 1}, errors=1, bytes_sent=len(SELECT))


def test_a_refused_command_is_counted_as_that_and_nothing_else() -> None:
    ledger = Ledger()
    ledger.refused(b"\x00\xdb\x3f\xff", "PUT DATA is not allowed")
    assert ledger.counts() == Counts(refused=1)


def test_one_ledger_goes_on_with_the_next_card() -> None:
    ledger = Ledger()
    for card in (FakeCard(), FakeCard()):
        Audit(card, ledger).transmit(SELECT)
    assert ledger.counts().commands == {"SELECT": 2}


def test_counts_stay_the_same_object_while_nothing_comes() -> None:
    card, ledger = audited(FakeCard())
    assert ledger.counts() is ledger.counts()
    card.transmit(SELECT)
    before = ledger.counts()
    assert ledger.counts() is before
    card.transmit(SELECT)
    assert before.commands == {"SELECT": 1}


def test_the_difference_of_two_moments_is_what_came_between_them() -> None:
    card, ledger = audited(FakeCard(answers={VERIFY: TRIES_LEFT}))
    card.transmit(SELECT)
    before = ledger.counts()
    card.transmit(VERIFY)
    assert ledger.counts().since(before) == Counts(
        {"VERIFY": 1}, pin_failures=1, bytes_sent=len(VERIFY), bytes_received=2
    )


def test_everything_but_transmit_is_the_cards_own() -> None:
    card = FakeCard()
    card.transmission = Transmission.T1
    wrapped, _ = audited(card)
    events: list[CardEvent] = []
    wrapped.listen(events.append)
    assert wrapped.transmission is Transmission.T1
    assert (wrapped.power_on(), wrapped.reset()) == (ATR, ATR)
    wrapped.power_off()
    card.report(CardEvent.REMOVED)
    assert events == [CardEvent.REMOVED]
    assert card.calls == ["power_on", "reset", "power_off"]


def test_no_pin_and_no_data_can_be_read_from_a_ledger() -> None:
    card, ledger = audited(FakeCard(answers={VERIFY: TRIES_LEFT}))
    card.transmit(VERIFY)
    shown = repr(ledger.counts()) + repr(ledger) + repr(vars(ledger))
    assert "123456" not in shown
    assert PIN.hex() not in shown.lower()


def test_every_instruction_has_a_name() -> None:
    assert len({instruction_name(instruction) for instruction in range(256)}) > len(set(NAMES.values()))
    assert instruction_name(0x20) == "VERIFY"
    assert instruction_name(0x0A) == "INS 0A"


def test_the_names_are_words_that_people_know() -> None:
    assert all(name == name.upper() and 4 <= len(name) <= 40 for name in NAMES.values())
    assert set(NAMES) >= PIN_INSTRUCTIONS


def test_a_pin_that_the_guard_stops_is_counted_among_the_refused() -> None:
    ledger = Ledger()
    ledger.refused(b"\x00\x20\x00\x80", "pin")
    ledger.pin_stopped(1)
    assert ledger.counts() == Counts(refused=1, pin_stops=1)
