"""Timeouts on one thread."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from helpers.waiting import wait_until
from virtcard.bridge.timers import Timers


@pytest.fixture
def timers() -> Iterator[Timers]:
    timers = Timers()
    yield timers
    timers.close()


def test_alarm_rings_when_it_is_due_and_not_before(timers: Timers) -> None:
    rung = threading.Event()
    begin = time.monotonic()
    timers.schedule(0.05, rung.set)
    assert rung.wait(5)
    assert time.monotonic() - begin >= 0.05


def test_earlier_alarm_overtakes_a_later_one(timers: Timers) -> None:
    order: list[str] = []
    done = threading.Event()
    timers.schedule(0.3, done.set)
    timers.schedule(0.2, lambda: order.append("late"))
    timers.schedule(0.02, lambda: order.append("early"))
    assert done.wait(5)
    assert order == ["early", "late"]


def test_alarm_for_which_no_thread_was_left_rings_when_there_is_one(
    timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    early, late = threading.Event(), threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        timers.schedule(0.01, early.set)
    timers.schedule(0.02, late.set)
    assert early.wait(5)
    assert late.wait(5)


def test_stopped_alarm_does_not_ring(timers: Timers) -> None:
    rung, later = threading.Event(), threading.Event()
    timers.schedule(0.02, rung.set).stop()
    timers.schedule(0.08, later.set)
    assert later.wait(5)
    assert not rung.is_set()


def test_restarted_alarm_rings_once_at_its_new_time(timers: Timers) -> None:
    times: list[float] = []
    alarm = timers.alarm(lambda: times.append(time.monotonic()))
    begin = time.monotonic()
    alarm.start(0.02)
    alarm.start(0.1)
    later = threading.Event()
    timers.schedule(0.2, later.set)
    assert later.wait(5)
    assert len(times) == 1
    assert times[0] - begin >= 0.1


def test_alarm_can_be_brought_forward(timers: Timers) -> None:
    rung = threading.Event()
    alarm = timers.alarm(rung.set)
    alarm.start(60)
    alarm.start(0.01)
    assert rung.wait(5)


def test_alarm_stopped_and_started_again_rings(timers: Timers) -> None:
    rung = threading.Event()
    alarm = timers.alarm(rung.set)
    alarm.start(0.02)
    alarm.stop()
    alarm.start(0.02)
    assert rung.wait(5)


def test_consume_is_true_once_and_only_when_due(timers: Timers) -> None:
    rung = threading.Event()
    alarm = timers.alarm(rung.set)
    assert not alarm.consume()
    alarm.start(60)
    assert not alarm.consume()
    alarm.start(0.02)
    assert rung.wait(5)
    assert alarm.running
    assert alarm.consume()
    assert not alarm.consume()
    assert not alarm.running


def test_starting_and_stopping_ten_thousand_times_keeps_one_entry(timers: Timers) -> None:
    alarm = timers.alarm(lambda: None)
    for _ in range(10_000):
        alarm.start(20)
        alarm.stop()
    assert len(timers._heap) == 1


def test_the_first_stopped_alarm_that_is_due_takes_the_later_ones_with_it(timers: Timers) -> None:
    running = timers.schedule(60, lambda: None)
    for delay in (0.05, 20, 30, 40):
        timers.schedule(delay, lambda: None).stop()
    wait_until(lambda: len(timers._heap) == 1, 5, "only what runs is left")
    assert timers._heap[0][2] is running


def test_an_alarm_that_was_dropped_when_stopped_rings_when_it_is_started_again(timers: Timers) -> None:
    rung = threading.Event()
    alarm = timers.alarm(rung.set)
    alarm.start(20)
    alarm.stop()
    timers.schedule(0.02, lambda: None).stop()
    wait_until(lambda: not timers._heap, 5, "nothing is left")
    alarm.start(0.02)
    assert rung.wait(5)


def test_failing_callback_does_not_stop_the_others(timers: Timers, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError

    done = threading.Event()
    with caplog.at_level(logging.ERROR):
        timers.schedule(0.01, fail)
        timers.schedule(0.05, done.set)
        assert done.wait(5)
    assert "a timeout failed" in caplog.text


def test_all_alarms_share_one_thread(timers: Timers) -> None:
    threads: list[int] = []
    for _ in range(20):
        timers.schedule(0.01, lambda: threads.append(threading.get_ident()))
    wait_until(lambda: len(threads) == 20, 5, "twenty alarms")
    assert len(set(threads)) == 1


def test_thread_starts_with_the_first_alarm_and_ends_with_close() -> None:
    before = threading.active_count()
    timers = Timers()
    assert threading.active_count() == before
    timers.schedule(60, lambda: None)
    assert threading.active_count() == before + 1
    timers.close()
    timers.schedule(0, lambda: None)
    assert threading.active_count() == before


def test_alarm_that_has_ended_does_not_ring_and_lets_go_of_its_owner(timers: Timers) -> None:
    class Owner:
        def __init__(self) -> None:
            self.rung = False
            self.alarm = timers.alarm(self.ring)

        def ring(self) -> None:
            self.rung = True

    owner = Owner()
    owner.alarm.start(60)
    owner.alarm.end()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
