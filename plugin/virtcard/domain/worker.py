"""Blocking calls on one thread, one at a time, each with a deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from virtcard.domain.failure import silent
from virtcard.errors import Busy, Disconnected
from virtcard.limits import LIBVIRT_DEADLINE, LIBVIRT_STUCK_MAX, LIBVIRT_WAITING_MAX

R = TypeVar("R")


class Worker:
    """Belongs to one event loop. A call that misses its deadline keeps its thread, and the next call gets a new one."""

    def __init__(self, name: str = "libvirt", deadline: float = LIBVIRT_DEADLINE) -> None:
        self._name = name
        self._deadline = deadline
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._stuck = 0
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hand = _Hand(name)

    async def run(self, function: Callable[..., R], *args: object) -> R:
        """What `function(*args)` returns or raises, on the worker's thread, in the order of the calls.

        The deadline (seconds) counts from the moment the call starts. TimedOut when it is missed: the call may still
        come to its end, and its result is dropped; also at once while too many calls are stuck. Busy when too many
        wait, Disconnected after `close`. A cancelled caller leaves the line, and does not stop a call that runs.
        """
        if self._waiting >= LIBVIRT_WAITING_MAX:
            raise Busy("Too many calls wait for libvirt.", hint="Try again later.")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        task = asyncio.ensure_future(self._call(function, args))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def close(self) -> None:
        """Take no more calls: those that wait get Disconnected, and the thread ends after the one that runs."""
        self._closed = True
        self._hand.leave()

    async def _call(self, function: Callable[..., R], args: tuple[object, ...]) -> R:
        try:
            self._check_usable()
            future = self._hand.start(function, args)
            await asyncio.wait((future,), timeout=self._deadline)
            if future.done():
                return future.result()
            self._give_up(future)
            raise silent(self._deadline)
        finally:
            self._turn.release()

    def _check_usable(self) -> None:
        if self._closed:
            raise Disconnected("The connection to libvirt is being closed.")
        if self._stuck >= LIBVIRT_STUCK_MAX:
            raise silent(self._deadline)

    def _give_up(self, future: asyncio.Future[R]) -> None:
        self._stuck += 1
        future.add_done_callback(self._came_back)
        self._hand.leave()
        self._hand = _Hand(self._name)
        if self._closed:
            self._hand.leave()

    def _came_back(self, future: asyncio.Future[R]) -> None:
        self._stuck -= 1
        future.exception()

    def _forget(self, task: asyncio.Task[R]) -> None:
        """Also looks at the error, which nobody does when the caller was cancelled."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


class _Hand:
    """One thread. It is a daemon, so that a call that never comes back does not hold the process."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def start(self, function: Callable[..., R], args: tuple[object, ...]) -> asyncio.Future[R]:
        """Call `function(*args)` next; the future belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def job() -> None:
            try:
                result = function(*args)
            except BaseException as error:  # noqa: BLE001 - every error belongs to the caller
                _tell(loop, _set_exception, future, error)
            else:
                _tell(loop, _set_result, future, result)

        self._jobs.put(job)
        return future

    def leave(self) -> None:
        """End after the call that runs."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function, *args)


def _set_result(future: asyncio.Future[R], result: R) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[R], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
