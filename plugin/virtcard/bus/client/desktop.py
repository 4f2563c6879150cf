"""The desktop of a session: notifications with buttons, and the screen lock."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from dbus_next.constants import MessageFlag, MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.signature import Variant

from virtcard import limits
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.errors import Disconnected, Unsupported, VirtcardError

NOTIFICATIONS: Final = "org.freedesktop.Notifications"
_NOTIFICATIONS_PATH: Final = "/org/freedesktop/Notifications"
SCREEN_SAVER: Final = "org.gnome.ScreenSaver"
_SCREEN_SAVER_PATH: Final = "/org/gnome/ScreenSaver"

_RULES: Final = (
    f"type='signal',sender='{NOTIFICATIONS}',path='{_NOTIFICATIONS_PATH}'",
    f"type='signal',sender='{SCREEN_SAVER}',path='{_SCREEN_SAVER_PATH}'",
    f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{NOTIFICATIONS}'",
)
_NORMAL, _CRITICAL = 1, 2
_NEVER: Final = 0
"""An expiry: it stays until it is closed."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification. `buttons` are words for a person by key, in the order in which they are shown."""

    summary: str
    body: str
    buttons: Mapping[str, str]


class Desktop:
    """A connection to the session bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._showing = 0
        self._early: dict[int, str] = {}
        """What happened while we were about to learn the number of `_showing` notifications."""
        self._owner = ""
        self._lock_listeners: list[Callable[[], None]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Desktop]:
        """Connect; Disconnected without a session bus."""
        bus = await Bus.open(BusKind.SESSION)
        desktop = cls(bus)
        bus.add_message_handler(desktop._on_message)
        try:
            for rule in _RULES:
                await bus.ask_bus("AddMatch", "s", [rule])
            yield desktop
        finally:
            await bus.close()

    async def wait_closed(self) -> None:
        """Wait for the end of the session bus."""
        await self._bus.wait_closed()

    async def is_locked(self) -> bool:
        """The screen is locked, or its saver does not say; a desktop without one is never."""
        try:
            if not (await self._bus.ask_bus("NameHasOwner", "s", [SCREEN_SAVER]))[0]:
                return False
            (active,) = await self._bus.ask(
                SCREEN_SAVER, _SCREEN_SAVER_PATH, SCREEN_SAVER, "GetActive", timeout=limits.DESKTOP_PATIENCE
            )
        except (DBusError, VirtcardError, ValueError):
            return True
        return active is not False

    @asynccontextmanager
    async def lock_changes(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the screen may have been locked meanwhile."""
        changed = asyncio.Event()
        self._lock_listeners.append(changed.set)
        try:
            yield changed
        finally:
            self._lock_listeners.remove(changed.set)

    async def ask(self, notification: Notification) -> str:
        """Show it until a button is clicked: its key, or "" when it was closed. When cancelled, it is taken away.

        Unsupported when notifications have no buttons here, Disconnected when nobody shows any."""
        capabilities = await self._capabilities()
        if "actions" not in capabilities:
            raise Unsupported(
                "This desktop's notifications have no buttons.", hint="Run 'virtcard agent --terminal' instead."
            )
        number, answer = await self._shown(notification, capabilities)
        try:
            return await answer
        finally:
            del self._answers[number]
            self._take_away(number)

    async def _shown(self, notification: Notification, capabilities: frozenset[str]) -> tuple[int, asyncio.Future[str]]:
        """The number of a notification, and its answer, which may be there already."""
        self._showing += 1
        try:
            number = await self._notify(notification, capabilities, _CRITICAL)
            answer = self._answers[number] = asyncio.get_running_loop().create_future()
            if number in self._early:
                answer.set_result(self._early[number])
        finally:
            self._showing -= 1
            if not self._showing:
                self._early.clear()
        return number, answer

    async def show(self, notification: Notification) -> None:
        """Show it, without buttons."""
        await self._notify(notification, await self._capabilities(), _NORMAL)

    async def _capabilities(self) -> frozenset[str]:
        (words,) = await self._call("GetCapabilities", "")
        self._owner = str((await self._bus.ask_bus("GetNameOwner", "s", [NOTIFICATIONS]))[0])
        return frozenset(words)

    async def _notify(self, notification: Notification, capabilities: frozenset[str], urgency: int) -> int:
        """Its number. Only a server that knows markup gets the body escaped; the summary has none anywhere."""
        body = html.escape(notification.body, quote=False) if "body-markup" in capabilities else notification.body
        actions = [word for pair in notification.buttons.items() for word in pair]
        hints = {
            "urgency": Variant("y", urgency),
            "resident": Variant("b", bool(notification.buttons)),
            "x-gnome-privacy-scope": Variant("s", "system"),
        }
        values = [
            "virtcard",
            0,
            "dialog-password",
            notification.summary,
            body,
            actions,
            hints,
            _NEVER if actions else -1,
        ]
        return int((await self._call("Notify", "susssasa{sv}i", *values))[0])

    def _take_away(self, number: int) -> None:
        """Sent at once, since this may be the last thing that the process does."""
        flags = MessageFlag.NO_REPLY_EXPECTED | MessageFlag.NO_AUTOSTART
        self._bus.send(
            Message(NOTIFICATIONS, _NOTIFICATIONS_PATH, NOTIFICATIONS, "CloseNotification",
                    flags=flags, signature="u", body=[number])
        )  # fmt: skip

    async def _call(self, member: str, signature: str, *body: Any) -> list[Any]:
        try:
            return await self._bus.ask(
                NOTIFICATIONS, _NOTIFICATIONS_PATH, NOTIFICATIONS, member, signature, list(body),
                timeout=limits.DESKTOP_PATIENCE,
            )  # fmt: skip
        except DBusError as error:
            raise Disconnected("Nobody shows notifications here.") from error

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        match (message.interface, message.member, message.signature):
            case (name, "ActiveChanged", _) if name == SCREEN_SAVER:
                for listener in tuple(self._lock_listeners):
                    listener()
            case (name, "ActionInvoked", "us") if name == NOTIFICATIONS and message.sender == self._owner:
                self._settle(message.body[0], message.body[1])
            case (name, "NotificationClosed", "uu") if name == NOTIFICATIONS and message.sender == self._owner:
                self._settle(message.body[0], "")
            case ("org.freedesktop.DBus", "NameOwnerChanged", "sss") if message.body[0] == NOTIFICATIONS:
                for number in list(self._answers):
                    self._settle(number, "")

    def _settle(self, number: int, key: str) -> None:
        answer = self._answers.get(number)
        if answer is None and self._showing:
            self._early.setdefault(number, key)
        elif answer is not None and not answer.done():
            answer.set_result(key)
