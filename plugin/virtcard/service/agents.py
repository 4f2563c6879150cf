"""The agents: programs of users that ask the person in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from virtcard.errors import Busy
from virtcard.limits import AGENTS_PER_USER
from virtcard.service.question import Notice, Question


class Agent(Protocol):
    """One of them, wherever it is."""

    @property
    def uid(self) -> int:
        """Whose it is."""

    async def ask(self, number: str, question: Question) -> object:
        """Its unchecked answer to the question, which is called `number`; a VirtcardError when it gives none."""

    def cancel(self, number: str) -> None:
        """That question is over: nobody waits for the answer any more."""

    def tell(self, notice: Notice) -> None:
        """Something to tell the person."""


class Agents:
    """All that registered. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._agents: list[Agent] = []
        self._arrival = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    @property
    def users(self) -> tuple[int, ...]:
        """The uids that have any."""
        return tuple(sorted({agent.uid for agent in self._agents}))

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever one came or went."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def add(self, agent: Agent) -> None:
        """A new one; it is asked before those of its user that came earlier. Busy when the user has too many."""
        if sum(each.uid == agent.uid for each in self._agents) >= AGENTS_PER_USER:
            raise Busy("Too many agents of yours are registered.", hint="End the others: one for each session will do.")
        self._agents.append(agent)
        self._arrival.set()
        self._arrival = asyncio.Event()
        self._tell()

    def remove(self, agent: Agent) -> None:
        """It is gone."""
        if agent in self._agents:
            self._agents.remove(agent)
            self._tell()

    def of(self, uid: int) -> Agent | None:
        """The newest one of this user."""
        return next((agent for agent in reversed(self._agents) if agent.uid == uid), None)

    async def wait_for(self, uid: int, seconds: float) -> Agent | None:
        """The newest one of this user, also one that comes within `seconds`."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                while (agent := self.of(uid)) is None:
                    await self._arrival.wait()
        except TimeoutError:
            return None
        return agent
