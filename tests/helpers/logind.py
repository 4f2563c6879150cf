"""dbusmock's logind on a private bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dbus_next.signature import Variant

from virtcard.bus.connection import Bus
from virtcard.bus.logind import MANAGER, NAME, PATH, SEAT, SESSION

MOCK = "org.freedesktop.DBus.Mock"
PROPERTIES = "org.freedesktop.DBus.Properties"


@contextlib.contextmanager
def mock_logind(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the template `logind` on this bus, as on a system bus."""
    mock = subprocess.Popen(
        ["/usr/bin/python3", "-m", "dbusmock", "--system", "--template", "logind"],
        env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield mock
    finally:
        mock.terminate()
        mock.wait(10)


@dataclass(frozen=True, slots=True)
class MockLogind:
    """Drives the mock, by any connection to its bus."""

    bus: Bus

    async def ready(self) -> MockLogind:
        """Wait until it is on the bus."""
        async with asyncio.timeout(20):
            while not (await self.bus.ask_bus("NameHasOwner", "s", [NAME]))[0]:
                await asyncio.sleep(0.05)
        return self

    async def add_session(self, name: str, uid: int, *, active: bool = True, kind: str = "user") -> None:
        """A session at seat0; the newest is the active one."""
        await self._tell(PATH, "AddSession", "ssusb", name, "seat0", uid, f"user{uid}", active)
        await self.change(name, "Class", Variant("s", kind))
        path = self._session(name)
        await self.bus.ask(NAME, f"{PATH}/user/{uid}", PROPERTIES, "Set", "ssv",
                           ["org.freedesktop.login1.User", "Display", Variant("(so)", [name, path])])  # fmt: skip

    async def lock(self, name: str, locked: bool) -> None:
        """GNOME sets this when the screen is locked."""
        await self.bus.ask(NAME, self._session(name), SESSION, "SetLockedHint", "b", [locked])

    async def sleep(self, begins: bool) -> None:
        """What logind sends before the host sleeps, and when it has woken up."""
        await self._tell(PATH, "EmitSignal", "sssav", MANAGER, "PrepareForSleep", "b", [Variant("b", begins)])

    async def show(self, name: str) -> None:
        """Make it the active session of the seat; "" shows a terminal where nobody is logged in."""
        active = [name, self._session(name) if name else "/"]
        await self.bus.ask(
            NAME, f"{PATH}/seat/seat0", PROPERTIES, "Set", "ssv", [SEAT, "ActiveSession", Variant("(so)", active)]
        )

    async def change(self, name: str, key: str, value: Variant) -> None:
        """Another property of a session."""
        await self.bus.ask(NAME, self._session(name), PROPERTIES, "Set", "ssv", [SESSION, key, value])

    async def _tell(self, path: str, member: str, signature: str, *body: Any) -> None:
        await self.bus.ask(NAME, path, MOCK, member, signature, list(body))

    def _session(self, name: str) -> str:
        return f"{PATH}/session/{name}"
