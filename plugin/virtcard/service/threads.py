"""Blocking work on threads that never hold the process; asyncio's own pool waits for its threads at the end.

Each piece of work begins at once, on a thread that has nothing to do or on a new one: some of it hangs for good, and
must keep nothing else waiting. A thread stays for a moment, since a pass over a thousand domains has thousands of
short pieces."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from virtcard.errors import MORE_RESOURCES, Failed

R = TypeVar("R")

LINGER: Final = 2.0
"""Seconds that a thread waits for more: longer than between two looks at the policy files."""

log = logging.getLogger(__name__)

Work = Callable[[], None]

_idle: Final[list[_Hand]] = []
"""Threads that have nothing to do; the one that came last is the next to be used, so that the others may end."""
_choosing: Final = threading.Lock()


class _Hand:
    """One thread, with its next piece of work."""

    def __init__(self, work: Work) -> None:
        self.next: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.next.put(work)
        threading.Thread(target=self._run, name="virtcard-work", daemon=True).start()

    def _run(self) -> None:
        while (work := self._wait()) is not None:
            work()
            with _choosing:
                _idle.append(self)

    def _wait(self) -> Work | None:
        try:
            return self.next.get(timeout=LINGER)
        except queue.Empty:
            with _choosing:
                if self in _idle:
                    _idle.remove(self)
                    return None
            return self.next.get()  # somebody chose this thread in the last moment


def start(function: Callable[..., R], *args: object) -> Future[R]:
    """Call `function(*args)` on another thread; `asyncio.wrap_future` waits for it, or for a Failed when the system has
    no thread left."""
    future: Future[R] = Future()
    future.set_running_or_notify_cancel()  # whoever waits may give up; the work goes on, and ends like any other

    def work() -> None:
        try:
            result = function(*args)
        except BaseException as error:  # noqa: BLE001 - every error belongs to whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    with _choosing:
        hand = _idle.pop() if _idle else None
    if hand is not None:
        hand.next.put(work)
        return future
    try:
        _Hand(work)
    except RuntimeError as error:
        future.set_exception(Failed("The system has no thread left.", hint=MORE_RESOURCES))
        log.error("work is left undone: %s", error)
    return future
