"""One at a time for each domain: calls and passes over the same domain wait for each other, others do not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from virtcard.errors import VirtcardError

log = logging.getLogger(__name__)

Pass = Callable[[UUID], Awaitable[None]]


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """Serialises by domain, and folds any number of wake-ups that come during a pass into one more pass."""

    def __init__(self, reconcile: Pass) -> None:
        self._reconcile = reconcile
        self._turns: dict[UUID, _Turn] = {}
        self._due: dict[UUID, asyncio.TimerHandle] = {}
        self._waiting: set[UUID] = set()
        """Domains with a pass that has not begun yet, and will see all that happened until then."""
        self._touched: set[UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def held(self) -> int:
        """Domains whose turn is held or waited for."""
        return len(self._turns)

    @asynccontextmanager
    async def turn(self, uuid: UUID) -> AsyncIterator[None]:
        """Hold the domain."""
        self._touched.add(uuid)
        turn = self._turns.setdefault(uuid, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[uuid]

    def forget_touched(self) -> None:
        """From now on `touched` tells of turns after this moment, and of those that are held in it."""
        self._touched = set(self._turns)

    def touched(self, uuid: UUID) -> bool:
        """Somebody has had, has or waits for the domain's turn since `forget_touched`."""
        return uuid in self._touched

    def wake(self, uuid: UUID, delay: float = 0.0) -> None:
        """Reconcile this domain in `delay` seconds, or sooner when an earlier wake-up is due sooner."""
        if self._closed or uuid in self._waiting:
            return
        loop = asyncio.get_running_loop()
        due = self._due.get(uuid)
        if due is not None and due.when() <= loop.time() + delay:
            return
        if due is not None:
            due.cancel()
        self._due[uuid] = loop.call_later(delay, self._start, uuid)

    def _start(self, uuid: UUID) -> None:
        self._due.pop(uuid, None)
        self._waiting.add(uuid)
        task = asyncio.get_running_loop().create_task(self._pass(uuid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, uuid: UUID) -> None:
        try:
            async with self.turn(uuid):
                self._waiting.discard(uuid)
                await self._reconcile(uuid)
        except VirtcardError as error:
            log.warning("domain %s: %s", uuid, error.message)
        except Exception:
            log.exception("domain %s: reconcile failed", uuid)
        finally:
            self._waiting.discard(uuid)

    async def close(self) -> None:
        """Forget everything that is due, end the passes, and take no more."""
        self._closed = True
        for handle in self._due.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
