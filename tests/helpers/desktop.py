"""A desktop without a screen: dbusmock's notification daemon and GNOME screen saver on a private session bus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from virtcard.bus.client.desktop import NOTIFICATIONS, SCREEN_SAVER
from virtcard.bus.connection import Bus
from virtcard.bus.values import plain

MOCK = "org.freedesktop.DBus.Mock"
NOTIFICATIONS_PATH = "/org/freedesktop/Notifications"
SCREEN_SAVER_PATH = "/org/gnome/ScreenSaver"
WITH_BUTTONS: Final = "actions body body-markup persistence"
EXPIRED, DISMISSED = 1, 2
"""Reasons of NotificationClosed."""


@contextlib.contextmanager
def template(address: str, name: str, **parameters: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a dbusmock template on this session bus."""
    mock = subprocess.Popen(
        ["/usr/bin/python3", "-m", "dbusmock", "--session", "--template", name, "--parameters", json.dumps(parameters)],
        env=os.environ | {"DBUS_SESSION_BUS_ADDRESS": address},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield mock
    finally:
        mock.terminate()
        mock.wait(10)


async def on_the_bus(bus: Bus, name: str) -> None:
    """Wait until somebody owns `name`."""
    async with asyncio.timeout(20):
        while not (await bus.ask_bus("NameHasOwner", "s", [name]))[0]:
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Shown:
    """A notification as its server got it."""

    number: int
    summary: str
    body: str
    actions: dict[str, str]
    hints: dict[str, Any]
    expiry: int


@dataclass(frozen=True, slots=True)
class MockDesktop:
    """Drives the mocks, by any connection to their bus."""

    bus: Bus

    async def shown(self) -> list[Shown]:
        """All notifications so far."""
        calls = await self._tell(NOTIFICATIONS, NOTIFICATIONS_PATH, "GetMethodCalls", "s", "Notify")
        return [_shown(number, plain(values)) for number, (_, values) in enumerate(calls[0], 1)]

    async def closed(self) -> list[int]:
        """The numbers of those that the agent took away."""
        calls = await self._tell(NOTIFICATIONS, NOTIFICATIONS_PATH, "GetMethodCalls", "s", "CloseNotification")
        return [plain(values)[0] for _, values in calls[0]]

    async def wait_for(self, count: int) -> Shown:
        """The newest notification, when there are so many."""
        async with asyncio.timeout(20):
            while len(found := await self.shown()) < count:
                await asyncio.sleep(0.02)
        assert len(found) == count
        return found[-1]

    async def wait_closed(self, number: int) -> None:
        """Wait until the agent has taken it away."""
        async with asyncio.timeout(20):
            while number not in await self.closed():
                await asyncio.sleep(0.02)

    async def click(self, number: int, key: str) -> None:
        """A person clicks on a button."""
        await self._emit("ActionInvoked", "us", number, key)

    async def close(self, number: int, reason: int = DISMISSED) -> None:
        """A person closes it, or it expires."""
        await self._emit("NotificationClosed", "uu", number, reason)

    async def lock(self, locked: bool) -> None:
        """Lock or unlock the screen."""
        await self.bus.ask(SCREEN_SAVER, SCREEN_SAVER_PATH, SCREEN_SAVER, "SetActive", "b", [locked])

    async def _emit(self, name: str, signature: str, *body: Any) -> None:
        from dbus_next.signature import Variant

        values = [Variant(kind, value) for kind, value in zip(signature, body, strict=True)]
        await self._tell(
            NOTIFICATIONS, NOTIFICATIONS_PATH, "EmitSignal", "sssav", NOTIFICATIONS, name, signature, values
        )

    async def _tell(self, name: str, path: str, member: str, signature: str, *body: Any) -> list[Any]:
        return await self.bus.ask(name, path, MOCK, member, signature, list(body))


def _shown(number: int, values: list[Any]) -> Shown:
    _, _, _, summary, body, actions, hints, expiry = values
    return Shown(number, summary, body, dict(zip(actions[::2], actions[1::2], strict=True)), hints, expiry)
