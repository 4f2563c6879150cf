"""Timeouts for all bridges of a process, on one thread that sleeps until the next is due."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger(__name__)


class Alarm:
    """One timeout that can be started and stopped again and again, cheaply: an APDU does both.

    A stopped or restarted alarm leaves its entry in the heap, as kernel timers do, so starting one again seldom touches
    the heap and never wakes the timer thread. The first entry whose time comes takes those with it that are next and
    stopped, so that a thousand cards that were put in do not wake the thread a thousand times.
    """

    __slots__ = ("_callback", "_deadline", "_queued", "_timers")

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._callback = callback
        self._deadline: float | None = None
        self._queued: float | None = None

    @property
    def running(self) -> bool:
        """It was started, and neither stopped nor consumed."""
        return self._deadline is not None

    def start(self, seconds: float) -> None:
        """Call back in `seconds` from now; an earlier start no longer counts."""
        self._timers.start(self, seconds)

    def stop(self) -> None:
        """Do not call back. A call that is on its way finds nothing to `consume`."""
        self._deadline = None

    def end(self) -> None:
        """Stop for good: what is left in the heap shall not keep a whole bridge alive with it."""
        self._deadline = None
        self._callback = _nothing

    def consume(self) -> bool:
        """For the callback, under the caller's own lock: is this call still wanted? True once for each start."""
        if self._deadline is None or self._deadline > time.monotonic():
            return False
        self._deadline = None
        return True


class Timers:
    """The heap and its thread, which starts with the first alarm. Callbacks run on that thread and must be short."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closed = False

    def alarm(self, callback: Callable[[], None]) -> Alarm:
        """A new alarm, not started."""
        return Alarm(self, callback)

    def schedule(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        """A new alarm, started."""
        alarm = self.alarm(callback)
        self.start(alarm, seconds)
        return alarm

    def start(self, alarm: Alarm, seconds: float) -> None:
        """See `Alarm.start`."""
        alarm._deadline = deadline = time.monotonic() + seconds
        # Without the lock: `_pop` forgets `_queued` before it looks at `_deadline`, so one of both threads queues it.
        queued = alarm._queued
        if queued is None or queued > deadline:
            with self._changed:
                if alarm._queued is None or alarm._queued > deadline:
                    self._push(alarm, deadline)

    def close(self) -> None:
        """End the thread and forget every alarm."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _push(self, alarm: Alarm, deadline: float) -> None:
        if self._closed:
            return
        alarm._queued = deadline
        heapq.heappush(self._heap, (deadline, next(self._order), alarm))
        if self._thread is None:
            self._begin()
        elif self._heap[0][2] is alarm:
            self._changed.notify()

    def _begin(self) -> None:
        """Without a thread left in the system alarms wait for the next one that starts."""
        thread = threading.Thread(target=self._run, name="virtcard-timers", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            log.error("no thread is left for timeouts: %s", error)
        else:
            self._thread = thread

    def _run(self) -> None:
        while (due := self._next_due()) is not None:
            _call(due)

    def _next_due(self) -> Alarm | None:
        """Sleep until an alarm is due; None when closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if not self._heap:
                    self._changed.wait()
                elif self._heap[0][0] > now:
                    self._changed.wait(self._heap[0][0] - now)
                elif (alarm := self._pop(now)) is not None:
                    return alarm
                else:
                    self._drop_stopped(now)
        return None

    def _drop_stopped(self, now: float) -> None:
        """Not whenever the thread wakes: it does when an alarm starts, and that one is often stopped by then."""
        while self._heap and not self._heap[0][2].running:
            self._pop(now)

    def _pop(self, now: float) -> Alarm | None:
        """Take the first entry; its alarm when it is due, else it is dropped or queued anew."""
        when, _, alarm = heapq.heappop(self._heap)
        if alarm._queued != when:
            return None
        alarm._queued = None
        deadline = alarm._deadline
        if deadline is None:
            return None
        if deadline > now:
            self._push(alarm, deadline)
            return None
        return alarm


def _nothing() -> None:
    """What an alarm calls that has ended."""


def _call(alarm: Alarm) -> None:
    try:
        alarm._callback()
    except Exception:  # the other bridges' timeouts must go on
        log.exception("a timeout failed")


SHARED = Timers()
"""The timers of this process."""
