"""Two polkits: dbusmock's, in a process of its own, and one in our event loop that a test answers by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageType
from dbus_next.message import Message

from helpers.bus import ended_later
from virtcard.bus.connection import Bus

NAME = "org.freedesktop.PolicyKit1"
PATH = "/org/freedesktop/PolicyKit1/Authority"
MOCK = "org.freedesktop.DBus.Mock"


@contextlib.contextmanager
def mock_polkit(address: str) -> Iterator[None]:
    """Run dbusmock's `polkitd` template on this bus."""
    environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address}
    mock = subprocess.Popen(
        ["/usr/bin/python3", "-m", "dbusmock", "--system", "--template", "polkitd"],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        mock.terminate()
        mock.wait(10)


async def tell_mock(bus: Bus, member: str, signature: str = "", *body: Any) -> list[Any]:
    """Control the mock, once it is on the bus."""
    async with asyncio.timeout(20):
        while not (await bus.ask_bus("NameHasOwner", "s", [NAME]))[0]:
            await asyncio.sleep(0.05)
    return await bus.ask(NAME, PATH, MOCK, member, signature, list(body))


@dataclass(slots=True)
class Asked:
    """What a polkit in our own loop was asked and told."""

    checks: list[Message] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def silent_polkit(address: str) -> AsyncIterator[Asked]:
    """A polkit that notes what it is asked, and never answers a check."""
    bus = ended_later(await MessageBus(bus_address=address).connect())
    asked = Asked()

    def on_message(message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.member == "CheckAuthorization":
            asked.checks.append(message)
            return True
        asked.cancelled.append(message.body[0])
        return Message.new_method_return(message)

    bus.add_message_handler(on_message)
    await bus.request_name(NAME)
    try:
        yield asked
    finally:
        bus.disconnect()
