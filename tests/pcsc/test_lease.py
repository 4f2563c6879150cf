"""Machines and host programs at one card, on a real pcscd: who waits for whom, and whose login is whose."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from helpers import login_victim
from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.scripted_card import ATR_T0, ATR_T1, OK, PROTECTED, SELECT, VERIFIED, VERIFY, ScriptedCard
from helpers.shared_card import QUICK
from helpers.waiting import wait_until
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.rules import LeaseRules
from virtcard.card.lease.states import HOLDING
from virtcard.card.reader import Context, Disposition, Handle, PcscError, Result
from virtcard.card.reader_source import ReaderSource
from virtcard.card.selection import Selection
from virtcard.errors import Busy, CardError

READ = bytes.fromhex("00b0000010")
ANOTHER = bytes.fromhex("00a4040009a00000030800001000")
DENIED = b"\x69\x82"
NOT_VERIFIED = b"\x63\xc3"


class SilentCard(ScriptedCard):
    """It verifies the PIN, and the better half of its answer does not arrive."""

    def transmit(self, command: bytes) -> bytes:
        answer = super().transmit(command)
        return b"\x90" if command == VERIFY else answer


@pytest.fixture
def source(lab: Lab) -> ReaderSource:
    """Machines' cards come from here; a T=1 card is in, which needs no GET RESPONSE."""
    lab.plug(ScriptedCard(ATR_T1))
    return ReaderSource(lab.watcher, lab.contexts, QUICK)


def machine(source: ReaderSource, rules: LeaseRules | None = None) -> tuple[Leased, Selection]:
    """A machine with the card in."""
    leased = source.open(READERS[0])
    leased.agree(rules or LeaseRules())
    card = Selection(leased)
    card.power_on()
    return leased, card


@contextmanager
def host() -> Iterator[Handle]:
    """A program of the host that is connected to the card."""
    context = Context()
    try:
        handle = context.connect(READERS[0])
        try:
            yield handle
        finally:
            handle.disconnect(Disposition.LEAVE)
    finally:
        context.release()


def begin(handle: Handle) -> None:
    """A transaction of a host program, which takes resets as PC/SC wants it."""
    while True:
        try:
            return handle.begin()
        except PcscError as failure:
            if failure.code != Result.RESET_CARD:
                raise
            handle.reconnect(Disposition.LEAVE)


def test_host_program_has_the_card_when_the_machine_pauses(source: ReaderSource) -> None:
    _, card = machine(source)
    assert card.transmit(SELECT)[-2:] == OK
    with host() as program:
        began = time.monotonic()
        begin(program)
        assert time.monotonic() - began < QUICK.idle_logged_in + 0.5
        program.end(Disposition.LEAVE)


def test_pin_of_a_machine_is_of_no_use_to_the_host(source: ReaderSource) -> None:
    _, card = machine(source)
    assert card.transmit(VERIFY) == OK
    assert card.transmit(PROTECTED) == OK
    with host() as program:
        begin(program)
        assert program.transmit(PROTECTED) == DENIED
        program.end(Disposition.LEAVE)


def test_pin_of_a_machine_whose_answer_was_lost_is_of_no_use_to_the_host(lab: Lab) -> None:
    silent = SilentCard(ATR_T1)
    lab.plug(silent)
    _, card = machine(ReaderSource(lab.watcher, lab.contexts, QUICK))
    with pytest.raises(CardError):
        card.transmit(VERIFY)
    assert silent.is_logged_in
    with host() as program:
        begin(program)
        assert program.transmit(PROTECTED) == DENIED
        program.end(Disposition.LEAVE)


def test_pin_of_the_host_is_of_no_use_to_a_machine(source: ReaderSource) -> None:
    _, card = machine(source)
    with host() as program:
        begin(program)
        assert program.transmit(VERIFY) == OK
        program.end(Disposition.LEAVE)
        assert card.transmit(PROTECTED) == DENIED


def test_rule_lets_the_hosts_login_serve_a_machine(source: ReaderSource) -> None:
    _, card = machine(source, LeaseRules(host_login=True))
    with host() as program:
        begin(program)
        assert program.transmit(VERIFY) == OK
        program.end(Disposition.LEAVE)
        assert card.transmit(PROTECTED) == OK


def test_pin_of_one_machine_is_of_no_use_to_another(source: ReaderSource) -> None:
    _, one = machine(source)
    _, other = machine(source)
    assert one.transmit(VERIFY) == OK
    assert other.transmit(PROTECTED) == DENIED
    assert one.transmit(PROTECTED) == DENIED
    assert one.transmit(VERIFY) == OK
    assert one.transmit(PROTECTED) == OK


def test_logout_ends_a_login_at_once(source: ReaderSource) -> None:
    leased, card = machine(source)
    assert card.transmit(VERIFY) == OK
    leased.logout()
    with host() as program:
        began = time.monotonic()
        begin(program)
        assert time.monotonic() - began < QUICK.idle_logged_in
        assert program.transmit(VERIFIED) == NOT_VERIFIED
        program.end(Disposition.LEAVE)


def test_machine_goes_on_after_the_host_reset_the_card(source: ReaderSource) -> None:
    _, card = machine(source)
    card.transmit(SELECT)
    with host() as program:
        begin(program)
        program.end(Disposition.RESET)
        assert card.transmit(SELECT)[-2:] == OK


class PickyCard(ScriptedCard):
    """It reads for whoever has selected its application, and keeps it when another one is not found."""

    def __init__(self) -> None:
        super().__init__(ATR_T1)
        self._selected = False

    def reset(self) -> None:
        super().reset()
        self._selected = False

    def transmit(self, command: bytes) -> bytes:
        if command == READ:
            return OK if self._selected else b"\x6d\x00"
        answer = super().transmit(command)
        self._selected = self._selected or (command == SELECT and answer[-2:] == OK)
        return answer


def test_application_stays_selected_when_another_one_is_not_found_after_a_pause(lab: Lab) -> None:
    lab.plug(PickyCard())
    source = ReaderSource(lab.watcher, lab.contexts, QUICK)
    (leased, card), (_, other) = machine(source), machine(source)
    card.transmit(SELECT)
    assert card.transmit(READ) == OK
    other.transmit(SELECT)
    wait_until(lambda: leased._state not in HOLDING, 5, "the other had its turn")
    assert card.transmit(ANOTHER) == b"\x6a\x82"
    assert card.transmit(READ) == OK


def test_cards_come_and_go_beside_another_ones_lease(source: ReaderSource) -> None:
    """A PC/SC context is for one call at a time: who waited in pcscd for the other's end would keep it from ending."""
    _, one = machine(source)
    for _ in range(5):
        assert one.transmit(VERIFY) == OK
        _, other = machine(source)
        assert other.transmit(PROTECTED) == DENIED
        other.power_off()


def test_last_one_gives_the_context_back(source: ReaderSource, lab: Lab) -> None:
    _, one = machine(source)
    _, other = machine(source)
    one.transmit(SELECT)
    other.power_off()
    one.power_off()
    wait_until(lambda: not len(lab.contexts), 5, "the context is back")


def test_transaction_of_the_host_does_not_hold_up_a_machine_for_ever(source: ReaderSource) -> None:
    _, card = machine(source)
    with host() as program:
        begin(program)
        with pytest.raises(CardError, match="in use elsewhere"):
            card.transmit(PROTECTED)
        program.end(Disposition.LEAVE)
        assert card.transmit(PROTECTED) == DENIED


def test_machine_that_gave_up_in_a_transaction_can_be_ejected_and_inserted(source: ReaderSource) -> None:
    _, card = machine(source)
    with host() as program:
        begin(program)
        with pytest.raises(CardError):
            card.transmit(PROTECTED)
        began = time.monotonic()
        card.power_off()
        assert time.monotonic() - began < 1
        program.end(Disposition.LEAVE)
    assert card.power_on() == ATR_T1
    assert card.transmit(SELECT)[-2:] == OK


def test_pulled_card_ends_the_lease_and_the_next_one_is_a_new_beginning(source: ReaderSource, lab: Lab) -> None:
    _, card = machine(source)
    assert card.transmit(VERIFY) == OK
    lab.unplug()
    with pytest.raises(CardError):
        card.transmit(VERIFY)
    card.power_off()
    lab.plug(ScriptedCard(ATR_T0))
    assert card.power_on() == ATR_T0
    assert card.transmit(PROTECTED) == DENIED


def test_restart_of_pcscd_ends_the_lease(source: ReaderSource, lab: Lab) -> None:
    _, card = machine(source)
    assert card.transmit(VERIFY) == OK
    lab.pcscd.restart()
    with pytest.raises(CardError):
        card.transmit(VERIFY)
    card.power_off()
    lab.seen(ATR_T1)
    assert card.power_on() == ATR_T1
    assert card.transmit(PROTECTED) == DENIED


def test_login_of_a_daemon_that_is_killed_serves_nobody(source: ReaderSource) -> None:
    """Nobody is left to reset the card; pcscd does it, whose client has gone, and then lets in who waits.

    It unlocks the card a moment earlier, so a program that came in just that moment would be faster.
    """
    command = [sys.executable, login_victim.__file__, READERS[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim, ThreadPoolExecutor(1) as program:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"logged in\n"
        answers = program.submit(ask_when_it_is_free, PROTECTED, VERIFIED)
        with pytest.raises(TimeoutError):
            answers.result(0.3)
        victim.kill()
        assert answers.result(10) == [DENIED, NOT_VERIFIED]
    _, card = machine(source)
    assert card.transmit(PROTECTED) == DENIED


def ask_when_it_is_free(*commands: bytes) -> list[bytes]:
    """As a host program: SCardConnect waits for the end of another's transaction."""
    with host() as handle:
        begin(handle)
        answers = [answer_after_reset(handle, command) for command in commands]
        handle.end(Disposition.LEAVE)
    return answers


def answer_after_reset(handle: Handle, command: bytes) -> bytes:
    """As a program that takes resets as PC/SC wants it; in the middle of one pcscd knows of no protocol."""
    for _ in range(10):
        try:
            return handle.transmit(command)
        except PcscError as failure:
            if failure.code not in {Result.RESET_CARD, Result.PROTO_MISMATCH}:
                raise
            handle.reconnect(Disposition.LEAVE)
    raise AssertionError("the card is reset again and again")


def test_exclusive_card_is_out_of_reach_for_the_host(source: ReaderSource) -> None:
    _, card = machine(source, LeaseRules(exclusive=True))
    context = Context()
    with pytest.raises(PcscError) as caught:
        context.connect(READERS[0])
    assert caught.value.code == Result.SHARING_VIOLATION
    assert card.transmit(VERIFY) == OK
    assert card.transmit(PROTECTED) == OK
    card.power_off()
    handle = context.connect(READERS[0])
    assert handle.transmit(PROTECTED) == DENIED
    context.release()


def test_exclusive_card_can_be_logged_out_and_powered_on_again(source: ReaderSource) -> None:
    leased, card = machine(source, LeaseRules(exclusive=True))
    card.transmit(VERIFY)
    leased.logout()
    assert card.transmit(PROTECTED) == DENIED
    assert card.reset() == ATR_T1
    assert card.transmit(SELECT)[-2:] == OK


def test_card_that_a_host_program_uses_cannot_be_had_alone(source: ReaderSource) -> None:
    leased = source.open(READERS[0])
    leased.agree(LeaseRules(exclusive=True))
    with host() as program:
        with pytest.raises(CardError, match="nobody can have it alone"):
            leased.power_on()
        begin(program)
        program.end(Disposition.LEAVE)
    assert leased.power_on() == ATR_T1


def test_other_machines_hear_that_the_card_is_for_one_alone(source: ReaderSource) -> None:
    machine(source, LeaseRules(exclusive=True))
    with pytest.raises(Busy, match="has it for itself"):
        machine(source)


def test_stuck_card_holds_up_others_no_longer_than_they_wait(lab: Lab) -> None:
    stuck = ScriptedCard(ATR_T1)
    lab.plug(stuck)
    source = ReaderSource(lab.watcher, lab.contexts, QUICK)
    _, one = machine(source)
    _, other = machine(source)
    stuck.gate.clear()
    thread = threading.Thread(target=one.transmit, args=(bytes.fromhex("80140000"),))
    thread.start()
    assert stuck.waiting.wait(5)
    with pytest.raises(CardError, match="in use elsewhere"):
        other.transmit(PROTECTED)
    stuck.gate.set()
    thread.join()
    assert other.transmit(PROTECTED) == DENIED
