"""Connections with and without our mends, and calls between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dbus_next.aio.message_bus import MessageBus
from dbus_next.errors import DBusError

from helpers.bus import PrivateBus, ended_later
from helpers.exported import INTERFACE, PATH, ROOT
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus


async def stock(private: PrivateBus) -> MessageBus:
    """A connection as dbus-next makes it."""
    return ended_later(await MessageBus(bus_address=private.address).connect())


async def mended(private: PrivateBus) -> Bus:
    """A connection of ours whose gate lets everybody pass."""
    bus = ended_later(await Bus.open(BusKind.SESSION, address=private.address))

    @asynccontextmanager
    async def admit(*_: Any) -> AsyncIterator[None]:
        yield

    bus.gate = admit
    bus.root = ROOT
    return bus


async def ask(bus: Bus, other: MessageBus, member: str, interface: str = INTERFACE, path: str = PATH) -> list[Any]:
    """Call `other` through the bus."""
    return await bus.ask(str(other.unique_name), path, interface, member, timeout=10.0)


async def error_of(bus: Bus, other: MessageBus, member: str, **where: str) -> DBusError:
    """The error that `other` answers."""
    with pytest.raises(DBusError) as caught:
        await ask(bus, other, member, **where)
    return caught.value
