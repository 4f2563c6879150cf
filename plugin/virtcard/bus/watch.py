"""Hear when a peer leaves the bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbus_next.errors import DBusError
from dbus_next.message import Message

from virtcard.bus.connection import Bus
from virtcard.errors import VirtcardError


@asynccontextmanager
async def leaving(bus: Bus, name: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the unique name `name` leaves.

    A peer that left before this began is not reported: ask the bus about it inside."""
    gone = asyncio.Event()

    def on_message(message: Message) -> None:
        if (message.member, message.sender) == ("NameOwnerChanged", "org.freedesktop.DBus"):
            changed, _, owner = message.body
            if changed == name and not owner:
                gone.set()

    rule = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{name}'"
    bus.add_message_handler(on_message)
    refused = False
    try:
        try:
            await bus.ask_bus("AddMatch", "s", [rule])
        except DBusError:
            refused = True
            raise
        yield gone
    finally:
        bus.remove_message_handler(on_message)
        if not refused:  # or the equal rule of another who watches the same peer would go
            bus.spawn(_unmatch(bus, rule))


async def _unmatch(bus: Bus, rule: str) -> None:
    try:
        await bus.ask_bus("RemoveMatch", "s", [rule])
    except (DBusError, VirtcardError):
        return  # the bus is gone, and the rule with it
