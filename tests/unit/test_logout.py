"""The end of a login that the card cannot see: which events mean it, and what the next command finds."""

from __future__ import annotations

import threading

import libvirt
import pytest

from helpers.errands import Sent
from helpers.fake_card import ATR, OK, FakeCard
from virtcard.card.base import CardEvent, Transmission
from virtcard.card.logout import LogoutByReset
from virtcard.card.selection import Selection
from virtcard.domain.events import (
    EventKind,
    HypervisorEvent,
    Lifecycle,
    Resumed,
    Stopped,
    came_in,
    ends_login,
)
from virtcard.errors import CardChanged, CardError, CardWasReset, NotSent

SELECT = bytes.fromhex("00a4040005a000000308")
READ = bytes.fromhex("00b0000010")


def lifecycle(event: int, detail: int = 0) -> HypervisorEvent:
    return HypervisorEvent(EventKind.LIFECYCLE, None, event, detail)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(HypervisorEvent(EventKind.REBOOT, None), id="reset"),
        pytest.param(lifecycle(Lifecycle.SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED), id="pause"),
        pytest.param(lifecycle(Lifecycle.SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED), id="migration"),
        pytest.param(lifecycle(Lifecycle.RESUMED, Resumed.FROM_SNAPSHOT), id="revert in place"),
        pytest.param(lifecycle(Lifecycle.STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT), id="revert"),
        pytest.param(lifecycle(Lifecycle.STOPPED, Stopped.FROM_SNAPSHOT), id="end by a revert"),
        pytest.param(lifecycle(Lifecycle.SHUTDOWN), id="shutdown"),
        pytest.param(lifecycle(Lifecycle.PMSUSPENDED), id="sleep"),
        pytest.param(lifecycle(Lifecycle.CRASHED), id="crash"),
        pytest.param(lifecycle(99), id="an event that we do not know"),
    ],
)
def test_these_events_end_a_login(event: HypervisorEvent) -> None:
    assert ends_login(event)


def test_only_a_machine_whose_state_was_loaded_has_come_in() -> None:
    loaded = [Resumed.MIGRATED, Resumed.FROM_SNAPSHOT, Resumed.POSTCOPY, Resumed.POSTCOPY_FAILED]
    assert all(came_in(lifecycle(Lifecycle.RESUMED, detail)) for detail in loaded)
    assert not came_in(lifecycle(Lifecycle.RESUMED, Resumed.UNPAUSED)), "of an ordinary start, too"
    assert not came_in(lifecycle(Lifecycle.STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_MIGRATED)), (
        "its state is still under way"
    )
    assert not came_in(HypervisorEvent(EventKind.REBOOT, None, Lifecycle.RESUMED, Resumed.MIGRATED))


@pytest.mark.parametrize(
    "event",
    [
        lifecycle(Lifecycle.DEFINED),
        lifecycle(Lifecycle.UNDEFINED),
        HypervisorEvent(EventKind.METADATA, None, Lifecycle.SUSPENDED),
        HypervisorEvent(EventKind.CLOSED, None, Lifecycle.SUSPENDED),
    ],
)
def test_a_change_of_the_configuration_ends_none(event: HypervisorEvent) -> None:
    assert not ends_login(event)


@pytest.fixture
def inner() -> FakeCard:
    return FakeCard()


@pytest.fixture
def card(inner: FakeCard) -> LogoutByReset:
    """A card that is on."""
    card = LogoutByReset(inner)
    assert card.power_on() == ATR
    return card


def test_next_command_finds_the_card_reset_and_is_not_sent(inner: FakeCard, card: LogoutByReset) -> None:
    card.logout()
    with pytest.raises(CardWasReset, match="was ended"):
        card.transmit(READ)
    assert (inner.calls, inner.commands) == (["power_on", "reset"], [])
    assert card.transmit(READ) == OK
    assert inner.calls.count("reset") == 1


def test_command_of_before_the_logout_is_not_sent(inner: FakeCard, card: LogoutByReset) -> None:
    """One that waited for a person: its PIN would log in a machine that was reset since."""

    def ask_and_send() -> bytes:
        card.logout()
        return Selection(card).transmit(READ)

    assert isinstance(Sent(ask_and_send).ended().error, NotSent)
    assert inner.commands == []
    assert isinstance(Sent(lambda: card.transmit(READ)).ended().error, CardWasReset)
    assert Sent(lambda: card.transmit(READ)).ended().answer == OK


def test_command_of_a_thread_that_was_given_up_is_not_sent(inner: FakeCard, card: LogoutByReset) -> None:
    asked, answered = threading.Event(), threading.Event()

    def ask_and_send() -> bytes:
        asked.set()
        assert answered.wait(5)
        return card.transmit(READ)

    sent = Sent(ask_and_send)
    assert asked.wait(5)
    sent.give_up()
    answered.set()
    assert isinstance(sent.ended().error, NotSent)
    assert inner.commands == []


def test_guest_keeps_its_selection(inner: FakeCard, card: LogoutByReset) -> None:
    outer = Selection(card)
    outer.transmit(SELECT)
    card.logout()
    assert outer.transmit(READ) == OK
    assert inner.commands == [SELECT, SELECT, READ]


@pytest.mark.parametrize("how", ["reset", "power_on"])
def test_reset_by_the_guest_is_a_logout_too(inner: FakeCard, card: LogoutByReset, how: str) -> None:
    card.logout()
    assert getattr(card, how)() == ATR
    assert card.transmit(READ) == OK
    assert inner.calls == ["power_on", how]


def test_another_card_is_put_in_anew(inner: FakeCard, card: LogoutByReset) -> None:
    inner.atr = b"\x3b\x00"
    card.logout()
    with pytest.raises(CardChanged):
        card.transmit(READ)


def test_card_that_cannot_be_reset_gets_no_command(
    inner: FakeCard, card: LogoutByReset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bytes:
        raise CardError("It is broken.")

    monkeypatch.setattr(inner, "reset", fail)
    card.logout()
    for _ in range(2):
        with pytest.raises(CardError, match="broken"):
            card.transmit(READ)
    assert inner.commands == []


def test_the_rest_is_the_cards_own(inner: FakeCard, card: LogoutByReset) -> None:
    inner.transmission = Transmission.T1
    assert card.transmission is Transmission.T1
    heard: list[CardEvent] = []
    card.listen(heard.append)
    inner.report(CardEvent.REMOVED)
    card.power_off()
    assert (heard, inner.calls) == ([CardEvent.REMOVED], ["power_on", "power_off"])
