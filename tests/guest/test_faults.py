"""A card that goes, at the worst moments of a guest's work: no hang, and no answer to another command's question."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest

from helpers.askings import PROMPT, Asking, in_an_apdu, is_error
from helpers.jobs import FIRST, SECOND, SECOND_NAME, Job, fetch
from helpers.scripted_card import OK, echo
from helpers.waiting import slowness, wait_until
from virtcard.limits import GUEST_PATIENCE, TRANSMIT_PATIENCE

ROUNDS = 5
PAUSE = 0.25
"""Seconds that a guest waits in the middle of a chain, and before GET RESPONSE: the fault comes then."""

LOOP = "while [ ! -e /tmp/enough ]; do opensc-tool -c default -s 80:10:00:20:20; done"


Phase = Callable[[Job, Random], Asking]
Fault = Callable[[Job], None]


def in_a_chain(one: Job, rng: Random) -> Asking:
    """The card has the first half of a command."""
    return _paused(one, echo(b"first half ", more=True), echo(b"second half"))


def before_get_response(one: Job, rng: Random) -> Asking:
    """The card has said 61xx."""
    return _paused(one, echo(b"to be fetched"), fetch(b"to be fetched"))


def _paused(one: Job, first: bytes, second: bytes) -> Asking:
    before = one.first.commands
    asking = Asking(lambda: one.guest.scard(first.hex(), f"sleep:{PAUSE * 1000:.0f}", second.hex()))
    wait_until(lambda: one.first.commands > before, 10, "the card gets the first command", 0.005)
    return asking


def eject(one: Job) -> None:
    one.eject()


def lose_the_card(one: Job) -> None:
    one.take_out()


def lose_the_reader(one: Job) -> None:
    one.host.pcscd.stop()
    one.first.gate.set()


def change_the_source(one: Job) -> None:
    one.insert(SECOND)


def mend(one: Job, fault: Fault) -> None:
    """Bring the first card back."""
    one.first.gate.set()
    if fault is change_the_source:
        one.wait_card(SECOND_NAME)
        one.exchange()
        one.insert(FIRST)
    elif fault is eject:
        one.guest.wait_reader_state("empty")
        one.insert(FIRST)
    elif fault is lose_the_card:
        one.guest.wait_reader_state("empty")
        one.put_in()
    else:
        one.guest.wait_reader_state("empty")
        one.host.pcscd.start()
    one.wait_card()


def break_it(one: Job, phase: Phase, fault: Fault, rng: Random) -> float:
    """One round; the seconds that the guest's command took after the fault."""
    asking = phase(one, rng)
    time.sleep(rng.uniform(0, PAUSE))
    began = time.monotonic()
    try:
        fault(one)
        result = asking.end()
        seconds = time.monotonic() - began
    finally:
        mend(one, fault)
    longest = PROMPT if phase is in_an_apdu else GUEST_PATIENCE + PROMPT
    assert seconds < longest * slowness(), f"{seconds:.1f} s: {result.output}"
    if phase is in_an_apdu:
        assert result.exit_code != 0, result.output
    else:
        _is_right_or_an_error(phase, result.output)
    one.exchange()
    return seconds


def _is_right_or_an_error(phase: Phase, output: str) -> None:
    lines = [line.partition(" ")[2] for line in output.splitlines()]
    assert len(lines) == 3, output
    if phase is in_a_chain:
        assert lines[0] == "9000" or is_error(lines[0]), output
        assert lines[2] == "6116" or is_error(lines[2]), output
    else:
        assert lines[0] == "610D" or is_error(lines[0]), output
        assert lines[2] == (b"to be fetched" + OK).hex().upper() or is_error(lines[2]), output


PHASES = pytest.mark.parametrize("phase", [in_an_apdu, in_a_chain, before_get_response])
FAULTS = pytest.mark.parametrize("fault", [eject, lose_the_card, lose_the_reader, change_the_source])


@PHASES
@FAULTS
def test_a_card_that_goes_leaves_no_hang_and_no_shifted_answer(
    running: Job, phase: Phase, fault: Fault, rng: Random, times: list[float]
) -> None:
    for _ in range(ROUNDS):
        times.append(break_it(running, phase, fault, rng))
    _are_prompt(times)
    assert running.lives()


@pytest.mark.soak
@PHASES
@FAULTS
def test_a_card_that_goes_a_hundred_times_leaves_no_hang(
    running: Job, phase: Phase, fault: Fault, rng: Random, times: list[float]
) -> None:
    for _ in range(100):
        times.append(break_it(running, phase, fault, rng))
    _are_prompt(times)
    assert running.lives()


def _are_prompt(times: list[float]) -> None:
    """One in twenty may have met CardRemove on its way to us: QEMU forgets such a command
    (dev-smartcard-reader.c, ccid_card_card_removed), and the guest has its error when its own patience ends."""
    late = [seconds for seconds in times if seconds >= PROMPT * slowness()]
    assert len(late) <= max(1, len(times) // 20), late


def test_a_card_that_never_answers_is_an_error_in_the_guest_before_the_guest_gives_up(
    running: Job, rng: Random
) -> None:
    """The bridge's thread hangs in pcscd; the guest's own patience would end all that follows in confusion."""
    asking = in_an_apdu(running, rng)
    try:
        result = asking.end()
        assert result.exit_code != 0, result.output
        assert TRANSMIT_PATIENCE - 1 < asking.seconds < GUEST_PATIENCE
        assert running.first.waiting.is_set(), "the card still works on it"
        running.guest.wait_reader_state("empty")
        running.insert(SECOND)
        running.wait_card(SECOND_NAME)
        running.exchange()
    finally:
        running.first.gate.set()
    running.insert(FIRST)
    running.wait_card()
    running.exchange()
    assert running.lives()


def stress(one: Job, changes: int, rng: Random) -> None:
    """Cards go and come at random moments of a loop of opensc-tool."""
    one.guest.run(f"rm -f /tmp/enough; ({LOOP}; touch /tmp/done) > /tmp/loop 2>&1 &").check()
    for _ in range(changes):
        time.sleep(rng.uniform(0, 0.6))
        one.eject()
        time.sleep(rng.uniform(0, 0.3))
        one.insert()
    one.guest.run("touch /tmp/enough").check()
    wait_until(lambda: one.guest.run("rm /tmp/done").exit_code == 0, 40, "the guest's loop ends", 0.1)
    one.wait_card()
    for _ in range(50):
        one.exchange()
    assert one.lives()


def test_cards_that_come_and_go_under_a_loop_of_commands_shift_no_answer(running: Job, rng: Random) -> None:
    stress(running, 10, rng)


@pytest.mark.soak
def test_cards_that_come_and_go_200_times_under_a_loop_of_commands_shift_no_answer(running: Job, rng: Random) -> None:
    stress(running, 200, rng)
