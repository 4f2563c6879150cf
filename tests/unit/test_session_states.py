"""The table of states, walked."""

from __future__ import annotations

import pytest

from virtcard.bridge.control import _ARRIVE
from virtcard.bridge.states import IN_FLIGHT, OVER, TRANSITIONS, Event, SessionState

EVERY_STATE = list(SessionState)


def reachable(start: SessionState, *, without: frozenset[Event] = frozenset()) -> set[SessionState]:
    found = {start}
    while True:
        further = {to for (state, event), to in TRANSITIONS.items() if state in found and event not in without}
        if further <= found:
            return found
        found |= further


def test_every_state_is_reached_from_the_first() -> None:
    assert reachable(SessionState.NEW) == set(SessionState)


@pytest.mark.parametrize("state", EVERY_STATE)
def test_every_state_leads_to_an_orderly_end(state: SessionState) -> None:
    assert state is SessionState.BROKEN or SessionState.FINISHED in reachable(state, without=frozenset({Event.FAULT}))


@pytest.mark.parametrize("state", EVERY_STATE)
def test_every_state_but_the_last_breaks_with_its_peer(state: SessionState) -> None:
    assert ((state, Event.FAULT) in TRANSITIONS) is (state not in OVER)


@pytest.mark.parametrize("state", sorted(OVER))
def test_nothing_leads_out_of_an_end(state: SessionState) -> None:
    assert reachable(state) == {state}


@pytest.mark.parametrize("state", EVERY_STATE)
def test_acknowledgements_are_for_what_is_in_flight(state: SessionState) -> None:
    greeted = (state, Event.INIT) in TRANSITIONS and state is not SessionState.SETTLING
    acknowledged = (state, Event.ACK) in TRANSITIONS or greeted
    assert acknowledged is (state in IN_FLIGHT)


@pytest.mark.parametrize("state", EVERY_STATE)
def test_only_an_acknowledgement_leads_from_one_message_to_the_next(state: SessionState) -> None:
    if state not in IN_FLIGHT:
        return
    for (before, event), after in TRANSITIONS.items():
        if before is state and after in IN_FLIGHT and after is not before:
            withdrawn = (before, after) == (SessionState.INSERTING, SessionState.WITHDRAWING)
            assert withdrawn or event in {Event.ACK, Event.REFUSAL, Event.INIT}


def test_only_the_ceremony_leads_to_card_remove() -> None:
    before = {state for (state, _), to in TRANSITIONS.items() if to is SessionState.REMOVING}
    assert before == {SessionState.EJECTING}


def test_only_a_slot_that_was_empty_gets_an_atr() -> None:
    before = {state for (state, _), to in TRANSITIONS.items() if to is SessionState.INSERTING}
    assert before == {SessionState.WAITING}


def test_every_state_that_is_entered_does_something() -> None:
    assert set(_ARRIVE) == set(SessionState) - {SessionState.NEW}


@pytest.mark.parametrize("event", list(Event))
def test_every_event_moves_something(event: Event) -> None:
    assert any(event is moved for _, moved in TRANSITIONS)
