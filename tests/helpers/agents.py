"""Agents on a bus that behave as a test wants, down to the messages that they send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message

from helpers.bus import ended_later
from virtcard.bus.values import plain
from virtcard.names import AGENT, BUS_NAME, MANAGER, ROOT_PATH

PATH = "/agent"

Answers = Callable[[Message], list[Message]]
"""The replies to a call of Ask."""


def word(answer: str) -> Answers:
    """A well-behaved answer."""
    return lambda call: [Message.new_method_return(call, "s", [answer])]


def silence(_call: Message) -> list[Message]:
    """No answer at all."""
    return []


@dataclass(slots=True)
class AgentPeer:
    """A peer with an agent at PATH. What it was asked, told and had taken back, as plain values."""

    bus: MessageBus
    answers: Answers
    calls: list[Message] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    async def open(cls, address: str, answers: Answers) -> AgentPeer:
        """Connect with the test's own uid."""
        return cls.on(ended_later(await MessageBus(bus_address=address).connect()), answers)

    @classmethod
    def on(cls, bus: MessageBus, answers: Answers) -> AgentPeer:
        """Be an agent on this connection."""
        peer = cls(bus, answers)
        bus._user_message_handlers.insert(0, peer._take)  # before our own, which knows only what is exported
        return peer

    async def manage(self, member: str, path: str = PATH) -> Message:
        """RegisterAgent or UnregisterAgent; the daemon's reply."""
        call = Message(BUS_NAME, ROOT_PATH, MANAGER, member, signature="o", body=[path])
        async with asyncio.timeout(10):
            reply = await self.bus.call(call)
        assert reply is not None
        return reply

    async def register(self) -> None:
        """RegisterAgent, which must succeed."""
        reply = await self.manage("RegisterAgent")
        assert reply.message_type is MessageType.METHOD_RETURN, reply.body

    def reply(self, *messages: Message) -> None:
        """Send replies, however wrong."""
        for message in messages:
            self.bus.send(message)

    def _take(self, message: Message) -> bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface != AGENT:
            return None
        (body,) = plain(message.body)
        match message.member:
            case "Ask":
                self.calls.append(message)
                self.asked.append(body)
                self.reply(*self.answers(message))
                return True
            case "Cancel":
                self.cancelled.append(body)
            case "Notify":
                self.told.append(body)
        self.reply(Message.new_method_return(message))
        return True
