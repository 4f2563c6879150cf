"""The agent: takes what virtcardd asks, and gives the person's answer, which is a no unless it is a yes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from virtcard.agent.asked import Choice, Notice, Question, notice, question
from virtcard.errors import VirtcardError

log = logging.getLogger(__name__)


class Front(Protocol):
    """Where the person is."""

    async def ask(self, question: Question) -> Choice:
        """The answer; DENY when the person turns away. Cancelled when the question is over: it disappears then."""

    async def tell(self, notice: Notice) -> None:
        """Show it."""


class Lock(Protocol):
    """The screen."""

    async def is_locked(self) -> bool:
        """Whoever can see it is not the person."""

    def lock_changes(self) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set when it may have been locked."""


class NoLock:
    """Of a terminal without a desktop."""

    async def is_locked(self) -> bool:
        """Never."""
        return False

    @asynccontextmanager
    async def lock_changes(self) -> AsyncIterator[asyncio.Event]:
        """An event that never happens."""
        yield asyncio.Event()


class Agent:
    """Any number of questions at a time; how many the person sees at a time is the front's matter."""

    def __init__(self, front: Front, lock: Lock) -> None:
        self._front = front
        self._lock = lock
        self._tellings: set[asyncio.Task[None]] = set()

    async def ask(self, untrusted_question: Mapping[str, Any]) -> str:
        """The answer as org.virtcard1.Agent spells it."""
        asked = question(untrusted_question)
        async with self._lock.lock_changes() as changed:
            if await self._lock.is_locked():
                return Choice.DENY
            try:
                async with asyncio.timeout(asked.patience):
                    answer = await self._answer(asked, changed)
            except TimeoutError:
                return Choice.DENY
            except VirtcardError as error:
                log.warning("%s %s", error.message, error.hint)
                return Choice.DENY
            return Choice.DENY if await self._lock.is_locked() else answer

    def tell(self, untrusted_notice: Mapping[str, Any]) -> None:
        """Show a notice."""
        task = asyncio.ensure_future(self._tell(notice(untrusted_notice)))
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)

    async def _tell(self, told: Notice) -> None:
        try:
            await self._front.tell(told)
        except VirtcardError as error:
            log.warning("%s %s", error.message, error.hint)

    async def _answer(self, asked: Question, changed: asyncio.Event) -> Choice:
        """The front's, or DENY when the screen is locked before it comes."""
        answering = asyncio.ensure_future(self._front.ask(asked))
        locking = asyncio.ensure_future(self._until_locked(changed))
        try:
            await asyncio.wait({answering, locking}, return_when=asyncio.FIRST_COMPLETED)
            return Choice.DENY if locking.done() else answering.result()
        finally:
            for task in (answering, locking):
                task.cancel()
            await asyncio.wait({answering, locking})

    async def _until_locked(self, changed: asyncio.Event) -> None:
        while not await self._lock.is_locked():
            await changed.wait()
            changed.clear()
