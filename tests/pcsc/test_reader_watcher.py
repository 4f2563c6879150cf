"""The watcher against a real pcscd that comes and goes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS, Pcscd
from helpers.scripted_card import ATR_T0, ATR_T1, ScriptedCard
from helpers.vpcd import Slot
from helpers.waiting import wait_until
from virtcard.card.base import CardEvent
from virtcard.card.reader_watcher import (
    ReaderAdded,
    ReaderChanged,
    ReaderEvent,
    ReaderRemoved,
    ReaderWatcher,
    Service,
    ServiceChanged,
    card_events,
)
from virtcard.limits import WATCH_STOP_PATIENCE


@pytest.fixture
def watcher() -> Iterator[ReaderWatcher]:
    """A watcher that is not started."""
    watcher = ReaderWatcher()
    yield watcher
    watcher.stop()


def told_of_card(events: list[ReaderEvent], slot: int = 0) -> list[CardEvent]:
    """The card's own events among the reader's."""
    return [card_event for event in events for card_event in card_events(event, READERS[slot])]


def test_the_first_look_reports_the_service_then_every_reader(lab: Lab) -> None:
    assert lab.events[0] == ServiceChanged(Service.CONNECTED)
    assert [event.reader.name for event in lab.events[1:] if isinstance(event, ReaderAdded)] == list(READERS)
    assert tuple(reader.name for reader in lab.watcher.readers) == READERS


def test_a_card_that_is_in_already_is_reported_with_its_reader(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    events: list[ReaderEvent] = []
    second = ReaderWatcher(events.append)
    second.start()
    assert second.settle(5)
    second.stop()
    assert told_of_card(events) == [CardEvent.INSERTED]


def test_insertion_and_removal_are_changes_of_the_reader(lab: Lab) -> None:
    lab.events.clear()
    lab.plug(ScriptedCard())
    lab.unplug()
    assert all(isinstance(event, ReaderChanged) for event in lab.events)
    assert told_of_card(lab.events) == [CardEvent.INSERTED, CardEvent.REMOVED]


def test_a_swap_is_a_removal_and_an_insertion(lab: Lab) -> None:
    lab.plug(ScriptedCard(ATR_T0))
    lab.events.clear()
    lab.plug(ScriptedCard(ATR_T1))
    assert told_of_card(lab.events) == [CardEvent.REMOVED, CardEvent.INSERTED]


def test_two_slots_are_told_apart(lab: Lab) -> None:
    lab.events.clear()
    lab.plug(ScriptedCard(), 1)
    assert told_of_card(lab.events, 0) == []
    assert told_of_card(lab.events, 1) == [CardEvent.INSERTED]


def test_restart_of_pcscd_takes_the_readers_away_and_brings_them_back(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    lab.events.clear()
    lab.pcscd.stop()
    wait_until(lambda: lab.watcher.service is Service.AWAY, 10, "pcscd is away")
    assert lab.watcher.readers == ()
    assert [type(event) for event in lab.events] == [ReaderRemoved, ReaderRemoved, ServiceChanged]
    lab.pcscd.start()
    lab.seen(ATR_T0)
    assert ServiceChanged(Service.CONNECTED) in lab.events
    assert told_of_card(lab.events) == [CardEvent.REMOVED, CardEvent.INSERTED]


def test_three_restarts_in_a_row_are_survived(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    for _ in range(3):
        lab.pcscd.restart()
    wait_until(lambda: ServiceChanged(Service.AWAY) in lab.events, 10, "pcscd is away")
    lab.seen(ATR_T0)
    lab.unplug()


def test_a_watcher_without_pcscd_is_settled_and_finds_it_later(watcher: ReaderWatcher) -> None:
    watcher.start()
    assert watcher.settle(5)
    assert (watcher.service, watcher.readers) == (Service.AWAY, ())
    with Pcscd():
        wait_until(lambda: len(watcher.readers) == 2, 10, "the readers are found")


def test_stop_is_prompt_in_the_middle_of_a_wait(lab: Lab) -> None:
    started = time.monotonic()
    lab.watcher.stop()
    assert time.monotonic() - started < 0.5


def test_stop_is_prompt_while_pcscd_is_away(watcher: ReaderWatcher) -> None:
    watcher.start()
    assert watcher.settle(5)
    started = time.monotonic()
    watcher.stop()
    assert time.monotonic() - started < 0.5


def test_stop_gives_up_a_pcscd_that_hangs(lab: Lab) -> None:
    assert lab.pcscd.process is not None
    lab.pcscd.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        lab.watcher.stop()
        assert time.monotonic() - started < WATCH_STOP_PATIENCE + 0.5
    finally:
        lab.pcscd.process.send_signal(signal.SIGCONT)


def test_stop_before_start_is_harmless(watcher: ReaderWatcher) -> None:
    watcher.stop()


def test_stop_right_after_start_is_prompt(lab: Lab) -> None:
    for _ in range(20):
        watcher = ReaderWatcher()
        watcher.start()
        started = time.monotonic()
        watcher.stop()
        assert time.monotonic() - started < 0.5


def test_a_listener_that_fails_is_logged_and_the_others_are_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: ReaderEvent) -> None:
        raise ValueError(type(event).__name__)

    told: list[ReaderEvent] = []
    lab.watcher.subscribe(fail)
    lab.watcher.subscribe(told.append)
    lab.plug(ScriptedCard())
    wait_until(lambda: len(told) == 1, 10, "the other listener is told")
    assert "a reader listener failed" in caplog.text


def test_subscribe_returns_what_changes_are_relative_to(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    told: list[ReaderEvent] = []
    readers = lab.watcher.subscribe(told.append)
    assert [reader.atr for reader in readers] == [ATR_T0, b""]
    assert told == []
    lab.watcher.unsubscribe(told.append)
    lab.unplug()
    assert told == []


def test_a_plugged_card_finds_a_restarted_pcscd_again(watcher: ReaderWatcher) -> None:
    watcher.start()
    with Pcscd() as pcscd, Slot(pcscd.port) as slot:
        slot.plug(ScriptedCard())
        pcscd.restart()
        wait_until(lambda: any(reader.atr == ATR_T0 for reader in watcher.readers), 10, "the card is seen")
