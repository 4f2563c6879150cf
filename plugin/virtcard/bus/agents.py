"""Agents on the bus: who registered, and how they are called back."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from dbus_next.errors import DBusError
from dbus_next.signature import Variant

from virtcard.bus.caller import current_caller
from virtcard.bus.connection import Bus
from virtcard.bus.values import text
from virtcard.bus.watch import leaving
from virtcard.errors import Busy, Disconnected, NotAuthorized, VirtcardError
from virtcard.names import AGENT
from virtcard.service.agents import Agents
from virtcard.service.question import Choice, Notice, Question

log = logging.getLogger(__name__)

CALL_PATIENCE: Final = 5.0
"""Seconds for a call that an agent answers without asking anybody."""


@dataclass(frozen=True, slots=True)
class BusAgent:
    """One that registered: a peer, and its object. Equal when it is the same object of the same peer."""

    bus: Bus
    sender: str
    path: str
    uid: int

    async def ask(self, number: str, question: Question) -> object:
        """Its unchecked answer; Disconnected when it leaves or answers with an error."""
        try:
            untrusted_reply = await self._call("Ask", question_values(number, question), timeout=None)
        except DBusError as error:
            raise Disconnected("it left, or failed.") from error
        return untrusted_reply[0] if untrusted_reply else None

    def cancel(self, number: str) -> None:
        """The question is over."""
        self.bus.spawn(self._tell("Cancel", "s", number))

    def tell(self, notice: Notice) -> None:
        """Something to tell the person."""
        self.bus.spawn(self._tell("Notify", "a{sv}", notice_values(notice)))

    async def _call(self, member: str, values: dict[str, Variant], *, timeout: float | None) -> list[Any]:
        return await self.bus.ask(self.sender, self.path, AGENT, member, "a{sv}", [values], timeout=timeout)

    async def _tell(self, member: str, signature: str, value: object) -> None:
        try:
            await self.bus.ask(self.sender, self.path, AGENT, member, signature, [value], timeout=CALL_PATIENCE)
        except (DBusError, VirtcardError) as error:
            log.debug("an agent of user %d did not take %s: %s", self.uid, member, error)


@dataclass(frozen=True, slots=True, eq=False)
class _Registered:
    """One stay of an agent. It may come again as an equal one, before the first stay has ended."""

    agent: BusAgent
    over: asyncio.Event
    """It has left the bus, or says that it is no agent any more."""


class AgentDoor:
    """Where agents come and go."""

    def __init__(self, bus: Bus, agents: Agents) -> None:
        self._bus = bus
        self._agents = agents
        self._here: dict[tuple[str, str], _Registered] = {}

    async def register(self, path: str) -> None:
        """The caller's object at `path` is an agent of the caller's user, until the caller leaves. Busy when the bus
        would not tell of that."""
        sender = current_caller().sender
        if (sender, path) in self._here:
            return
        async with AsyncExitStack() as watching:
            over = await self._watch(watching, sender)
            agent = BusAgent(self._bus, sender, path, await self._user_of(sender))
            if (sender, path) not in self._here:
                self._agents.add(agent)
                registered = self._here[sender, path] = _Registered(agent, over)
                self._bus.spawn(self._stay(registered, watching.pop_all()))

    def unregister(self, path: str) -> None:
        """The caller's object is no agent any more."""
        registered = self._here.get((current_caller().sender, path))
        if registered is not None:
            registered.over.set()
            self._forget(registered)

    async def _watch(self, watching: AsyncExitStack, sender: str) -> asyncio.Event:
        """Listen for its leaving, before it is asked for: it may leave at any time."""
        try:
            return await watching.enter_async_context(leaving(self._bus, sender))
        except DBusError as error:
            log.warning("an agent cannot be watched: %s", error.text)
            raise Busy("The bus does not tell when agents leave.", hint="Try again later.") from error

    async def _stay(self, registered: _Registered, watching: AsyncExitStack) -> None:
        try:
            async with watching:
                await registered.over.wait()
        finally:
            self._forget(registered)

    def _forget(self, registered: _Registered) -> None:
        agent = registered.agent
        if self._here.get((agent.sender, agent.path)) is registered:
            del self._here[agent.sender, agent.path]
            self._agents.remove(agent)

    async def _user_of(self, sender: str) -> int:
        try:
            return int((await self._bus.ask_bus("GetConnectionUnixUser", "s", [sender]))[0])
        except DBusError as error:
            raise NotAuthorized("The caller left.") from error


def question_values(number: str, question: Question) -> dict[str, Variant]:
    """A Question as `a{sv}`."""
    choices = [*question.choices, Choice.DENY]
    return {
        "id": Variant("s", number),
        "domain": Variant("s", text(question.domain)),
        "uuid": Variant("s", str(question.uuid)),
        "source": Variant("s", text(question.source)),
        "operation": Variant("s", question.operation),
        "choices": Variant("as", [choice.value for choice in choices]),
        "seconds": Variant("u", question.seconds),
        "patience": Variant("u", int(question.patience)),
    }


def notice_values(notice: Notice) -> dict[str, Variant]:
    """A Notice as `a{sv}`."""
    return {
        "kind": Variant("s", notice.kind.value),
        "domain": Variant("s", text(notice.domain)),
        "uuid": Variant("s", str(notice.uuid)),
        "source": Variant("s", text(notice.source)),
    }
