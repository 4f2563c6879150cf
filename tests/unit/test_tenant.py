"""A card that goes in anew while something is still in it has one user at a time."""

from __future__ import annotations

import pytest

from helpers.fake_card import ATR, FakeCard
from virtcard.card.base import CardEvent
from virtcard.card.tenant import Tenant
from virtcard.errors import CardAbsent, CardError

COMMAND = bytes.fromhex("00b0000000")


class Heard:
    """A listener that notes."""

    def __init__(self) -> None:
        self.events: list[CardEvent] = []

    def __call__(self, event: CardEvent) -> None:
        self.events.append(event)


def two_tenants() -> tuple[FakeCard, Tenant, Tenant]:
    """The first one has the card."""
    card = FakeCard()
    first = Tenant(card)
    assert first.power_on() == ATR
    return card, first, first.successor()


def test_a_tenant_passes_everything_on() -> None:
    card, tenant, _ = two_tenants()
    assert tenant.transmit(COMMAND) == b"\x90\x00"
    assert tenant.reset() == ATR
    assert tenant.transmission is card.transmission
    tenant.power_off()
    assert card.calls == ["power_on", "reset", "power_off"]


def test_while_one_has_the_card_the_next_one_does_not_come_to_it() -> None:
    card, _first, second = two_tenants()
    with pytest.raises(CardError, match="still at work"):
        second.power_on()
    with pytest.raises(CardAbsent):
        second.transmit(COMMAND)
    with pytest.raises(CardAbsent):
        second.reset()
    second.power_off()
    assert card.calls == ["power_on"]
    assert card.commands == []


def test_who_was_refused_hears_when_the_card_is_free() -> None:
    card, first, second = two_tenants()
    heard = Heard()
    second.listen(heard)
    with pytest.raises(CardError):
        second.power_on()
    assert heard.events == []
    first.power_off()
    assert heard.events == [CardEvent.INSERTED]
    assert second.power_on() == ATR
    assert card.calls == ["power_on", "power_off", "power_on"]


def test_who_has_left_cannot_power_it_off_under_the_next_one() -> None:
    card, first, second = two_tenants()
    first.power_off()
    second.power_on()
    first.listen(None)
    first.power_off()
    assert card.on
    with pytest.raises(CardAbsent):
        first.transmit(COMMAND)


def test_who_does_not_want_it_any_more_is_told_nothing() -> None:
    _card, first, second = two_tenants()
    heard = Heard()
    second.listen(heard)
    with pytest.raises(CardError):
        second.power_on()
    second.power_off()
    first.power_off()
    assert heard.events == []


def test_the_cards_events_go_to_whoever_has_it() -> None:
    card, first, second = two_tenants()
    of_first, of_second = Heard(), Heard()
    first.listen(of_first)
    second.listen(of_second)
    card.report(CardEvent.REMOVED)
    assert (of_first.events, of_second.events) == ([CardEvent.REMOVED], [])
    first.listen(None)
    first.power_off()
    second.power_on()
    card.report(CardEvent.REMOVED)
    assert (of_first.events, of_second.events) == ([CardEvent.REMOVED], [CardEvent.REMOVED])


def test_a_card_that_nobody_powered_on_is_let_go_all_the_same() -> None:
    card = FakeCard()
    Tenant(card).power_off()
    assert card.calls == ["power_off"]
