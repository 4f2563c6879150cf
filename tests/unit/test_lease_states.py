"""The table of a lease's states, and walks through it: by chance, and by three threads."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errands import Sent
from helpers.fake_card import OK
from helpers.shared_card import PROTECTED, QUICK, READ, VERIFY, Physical, SharedFake, SharedLab
from helpers.waiting import wait_until
from virtcard.card.lease.lease import Lease
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.rules import LeaseRules
from virtcard.card.lease.states import FRESH_WANTED, HOLDING, TRANSITIONS, LeaseEvent, LeaseState
from virtcard.errors import CardAbsent, CardError, CardWasReset

_S, _E = LeaseState, LeaseEvent


def test_each_state_and_each_event_has_its_place_in_the_table() -> None:
    assert {state for state, _ in TRANSITIONS} == set(_S)
    assert {event for _, event in TRANSITIONS} == set(_E)


def test_each_state_is_reached_from_the_beginning() -> None:
    reached = {_S.OFF}
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(_S)


@pytest.mark.parametrize("state", sorted(_S))
def test_card_goes_out_from_every_state_and_comes_in_new(state: LeaseState) -> None:
    assert TRANSITIONS[state, _E.POWERED_OFF] is _S.OFF
    if state not in HOLDING:
        assert TRANSITIONS[state, _E.POWERED_ON] is _S.NEW


@pytest.mark.parametrize("state", sorted(FRESH_WANTED))
def test_card_that_is_to_be_put_in_anew_gets_no_lease_before(state: LeaseState) -> None:
    ways = {after for (before, _), after in TRANSITIONS.items() if before is state}
    assert ways.isdisjoint(HOLDING)


def test_lost_state_is_never_held_before_it_was_told() -> None:
    """Only a machine that had nothing on the card gets it without a word."""
    held = {(before, event) for (before, event), after in TRANSITIONS.items() if after is _S.HELD}
    assert held == {(_S.NEW, _E.TAKEN), (_S.UNTOLD, _E.TOLD)}


# One lease.


@pytest.mark.parametrize(
    ("login", "unfinished", "waited_for", "seconds"),
    [
        (False, False, False, QUICK.idle),
        (False, False, True, QUICK.idle),
        (True, False, True, QUICK.idle_logged_in),
        (False, True, True, QUICK.idle_logged_in),
    ],
)
def test_lease_is_over_after_a_pause(login: bool, unfinished: bool, waited_for: bool, seconds: float) -> None:
    lease = _lease(login=login, unfinished=unfinished)
    assert lease.over(QUICK, -math.inf, waited_for=waited_for) == pytest.approx(lease.used + seconds)


@pytest.mark.parametrize(
    ("login", "unfinished", "waited_for", "seconds"),
    [
        (False, False, False, QUICK.last_call),
        (False, False, True, QUICK.idle),
        (True, False, True, QUICK.last_call),
        (True, True, True, QUICK.longest),
    ],
)
def test_lease_of_a_busy_guest_is_over_in_the_end(
    login: bool, unfinished: bool, waited_for: bool, seconds: float
) -> None:
    lease = _lease(login=login, unfinished=unfinished)
    lease.used += 100
    assert lease.over(QUICK, -math.inf, waited_for=waited_for) == pytest.approx(lease.since + seconds)


def test_logout_within_a_lease_ends_it_and_an_earlier_one_does_not() -> None:
    lease = _lease(login=True)
    assert lease.over(QUICK, lease.since, waited_for=False) == 0
    assert lease.over(QUICK, lease.since - 0.001, waited_for=False) > lease.since


def test_lease_of_who_has_the_card_alone_is_never_over() -> None:
    lease = _lease(alone=True)
    assert lease.over(QUICK, time.monotonic(), waited_for=True) == math.inf


def _lease(*, login: bool = False, unfinished: bool = False, alone: bool = False) -> Lease:
    lease = Lease(SharedFake(Physical(), "vm"), alone=alone)
    lease.start()
    lease.watch.login, lease.watch.open = login, unfinished
    return lease


# Walks.


def test_card_that_is_off_is_absent() -> None:
    card, handle = SharedLab().newcomer("vm")
    with pytest.raises(CardAbsent):
        card.transmit(READ)
    card.power_on()
    card.power_off()
    with pytest.raises(CardAbsent), card.kept():
        raise AssertionError("there is nothing to keep")
    assert handle.commands == []


class LoginHandle(SharedFake):
    """A handle on a card with a PIN, which says by whose PIN it is that a protected command is answered."""

    def __init__(self, physical: Physical, name: str, logins: dict[Physical, str]) -> None:
        super().__init__(physical, name)
        self.logins = logins

    def transmit(self, command: bytes) -> bytes:
        super().transmit(command)
        if command == VERIFY:
            self.physical.logged_in = True
            self.logins[self.physical] = self.name
        if command == PROTECTED:
            return self.logins[self.physical].encode() + OK if self.physical.logged_in else b"\x69\x82"
        return OK


class Crowd:
    """Machines at one card, and what each of them knows of its own login."""

    def __init__(self, *rules: LeaseRules) -> None:
        self.lab = SharedLab()
        self.cards: list[Leased] = []
        self.names = [f"vm{number}" for number in range(len(rules))]
        logins: dict[Physical, str] = {}
        for name, rule in zip(self.names, rules, strict=True):
            card = Leased(LoginHandle(self.lab.physical, name, logins), self.lab.office, rule)
            card.power_on()
            self.cards.append(card)

    def do(self, number: int, deed: str) -> None:
        """What a bridge, a person or the service does with the card of this machine."""
        card = self.cards[number]
        with suppress(CardError):
            try:
                self._do(card, self.names[number], deed)
            except CardWasReset:
                if card._state in FRESH_WANTED:
                    card.power_on()

    def _do(self, card: Leased, name: str, deed: str) -> None:
        if deed == "log out":
            card.logout()
        elif deed == "pause":
            threading.Event().wait(1.5 * QUICK.idle)
        elif deed == "power":
            card.power_off()
            card.power_on()
        elif deed == "keep":
            with card.kept():
                self._send(card, name, READ)
                self._send(card, name, VERIFY)
        else:
            self._send(card, name, {"read": READ, "verify": VERIFY, "prove": PROTECTED}[deed])

    def _send(self, card: Leased, name: str, command: bytes) -> None:
        answer = card.transmit(command)
        if command == PROTECTED and answer != b"\x69\x82":
            assert answer == name.encode() + OK, "another machine's login serves this one"

    def go_home(self) -> None:
        for card in self.cards:
            card.power_off()
        wait_until(lambda: self.lab.office._clerk is None, 5, "the clerk goes home")


DEEDS = ["read", "verify", "prove", "keep", "log out", "pause", "power"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(DEEDS)), max_size=12), st.booleans())
def test_whatever_two_machines_do_no_login_serves_the_other(walk: list[tuple[int, str]], reinsert: bool) -> None:
    crowd = Crowd(LeaseRules(), LeaseRules(reinsert=reinsert))
    try:
        for number, deed in walk:
            crowd.do(number, deed)
    finally:
        crowd.go_home()


def test_logouts_at_any_moment_leave_no_login_of_before() -> None:
    """The service's thread ends the login again and again while the bridge's thread logs in and proves it, and the
    clerk takes the lease away: a command that began after a logout never finds the login of before."""
    crowd = Crowd(LeaseRules())
    card = crowd.cards[0]
    over, logouts = threading.Event(), [0.0]

    def log_out() -> None:
        while not over.wait(0.003):
            card.logout()
            logouts[0] = time.monotonic()

    thread = threading.Thread(target=log_out)
    thread.start()
    logged_in_at, proven, denied = 0.0, 0, 0
    try:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            if _sent(card, VERIFY) == OK:
                logged_in_at = time.monotonic()
            logout = logouts[0]
            answer = _sent(card, PROTECTED)
            proven += answer not in (None, b"\x69\x82")
            denied += answer == b"\x69\x82"
            assert answer in (None, b"\x69\x82") or logout <= logged_in_at
    finally:
        over.set()
        thread.join(5)
        crowd.go_home()
    assert min(proven, denied) > 0


def _sent(card: Leased, command: bytes) -> bytes | None:
    """As from a bridge; a lost state is taken as Selection does, with nothing to replay."""

    def send() -> bytes:
        try:
            return card.transmit(command)
        except CardWasReset:
            return card.transmit(command)

    return Sent(send).ended().answer
