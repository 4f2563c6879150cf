"""Which card shall be in, and which one is."""

from __future__ import annotations

import pytest

from helpers.fake_card import FakeCard
from virtcard.bridge.seat import Seat, Slot
from virtcard.card.base import CardEvent


@pytest.fixture
def seat() -> Seat:
    return Seat()


def wanted(seat: Seat, card: FakeCard) -> Slot:
    """Want a card; its slot."""
    seat.want(card)
    assert seat.wanted is not None
    return seat.wanted


def seated(seat: Seat, card: FakeCard) -> Slot:
    """A card that is in."""
    slot = wanted(seat, card)
    slot.heard = slot.powered = True
    seat.seated = slot
    return slot


def test_wanted_card_is_first_heard_then_powered_on(seat: Seat) -> None:
    slot = wanted(seat, FakeCard())
    assert seat.to_hear() is slot
    assert seat.to_power_on() is None
    slot.heard = True
    assert seat.to_hear() is None
    assert seat.to_power_on() is slot


def test_wanting_the_same_card_keeps_its_slot_and_tries_it_again(seat: Seat) -> None:
    card = FakeCard()
    slot = wanted(seat, card)
    slot.usable = False
    assert wanted(seat, card) is slot
    assert slot.usable
    assert seat.to_retire() is None


def test_card_that_is_replaced_is_retired(seat: Seat) -> None:
    slot = wanted(seat, FakeCard())
    wanted(seat, FakeCard())
    assert seat.to_retire() is slot
    seat.retired(slot)
    assert seat.to_retire() is None


def test_seated_card_is_retired_only_when_it_is_out(seat: Seat) -> None:
    slot = seated(seat, FakeCard())
    seat.unwant()
    assert seat.must_leave
    assert seat.to_retire() is None
    seat.unseat()
    assert seat.to_retire() is slot


def test_seated_card_that_is_wanted_stays(seat: Seat) -> None:
    seated(seat, FakeCard())
    assert not seat.must_leave
    assert seat.to_power_off() is None
    assert seat.to_power_on() is None


def test_wanted_card_whose_session_ended_is_powered_off(seat: Seat) -> None:
    slot = seated(seat, FakeCard())
    seat.unseat()
    assert seat.to_power_off() is slot
    slot.powered = False
    assert seat.to_power_on() is slot


def test_stuck_card_is_touched_by_nobody(seat: Seat) -> None:
    slot = seated(seat, FakeCard())
    slot.stuck = True
    seat.unseat()
    assert seat.to_power_off() is seat.to_power_on() is seat.to_hear() is None
    seat.unwant()
    assert seat.to_retire() is None
    slot.stuck = False
    assert seat.to_retire() is slot


def test_card_that_is_wanted_again_while_it_is_let_go_is_not_retired_twice(seat: Seat) -> None:
    card = FakeCard()
    slot = seated(seat, card)
    seat.unwant()
    seat.unseat()
    assert seat.to_retire() is slot
    assert wanted(seat, card) is slot
    seat.retired(slot)
    assert seat.to_retire() is None
    assert seat.to_hear() is slot


def test_removed_card_must_leave_and_waits_for_its_return(seat: Seat) -> None:
    slot = seated(seat, FakeCard())
    seat.event(slot, CardEvent.REMOVED)
    assert seat.must_leave
    seat.unseat()
    slot.powered = False
    assert seat.to_power_on() is None
    seat.event(slot, CardEvent.INSERTED)
    assert seat.to_power_on() is slot


def test_exchanged_card_must_leave(seat: Seat) -> None:
    slot = seated(seat, FakeCard())
    seat.event(slot, CardEvent.REMOVED)
    seat.event(slot, CardEvent.INSERTED)
    assert seat.must_leave


def test_event_during_a_call_that_found_no_card_counts(seat: Seat) -> None:
    slot = wanted(seat, FakeCard())
    slot.heard = True
    seat.event(slot, CardEvent.INSERTED)
    seat.lost(slot)
    assert seat.to_power_on() is slot
    slot.fresh = False
    seat.lost(slot)
    assert seat.to_power_on() is None


def test_repr_of_a_slot_does_not_show_its_card(seat: Seat) -> None:
    assert "FakeCard" not in repr(wanted(seat, FakeCard()))
