"""systemd-logind: who sits at the machine, whether the screen is locked, and when the host goes to sleep."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from dbus_next.constants import MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message

from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.standard import PROPERTIES
from virtcard.bus.values import plain
from virtcard.errors import Disconnected, VirtcardError
from virtcard.limits import SYSTEM_BUS_PAUSE
from virtcard.service.seat import Person, Presence

log = logging.getLogger(__name__)

NAME: Final = "org.freedesktop.login1"
PATH: Final = "/org/freedesktop/login1"
MANAGER: Final = "org.freedesktop.login1.Manager"
SEAT: Final = "org.freedesktop.login1.Seat"
SESSION: Final = "org.freedesktop.login1.Session"
USER: Final = "org.freedesktop.login1.User"

_RULES: Final = (
    f"type='signal',sender='{NAME}',path_namespace='{PATH}'",
    f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{NAME}'",
)
_PEOPLE: Final = frozenset({"user", "user-early", "user-light"})
"""Classes of sessions with a person in them: not the greeter, and no background session."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told of what logind says."""

    on_presence: Callable[[Presence], None]
    """Who can be asked."""
    on_sleep: Callable[[], None]
    """The host is about to sleep, and again when it wakes up: the first word may come too late."""


class Logind:
    """For the system's instance the person is the user of the active session at seat0; for a user's own (`own` is the
    uid) it is that user, wherever the session is."""

    def __init__(self, bus: Bus, watcher: Watcher, *, own: int | None = None) -> None:
        self._bus = bus
        self._watcher = watcher
        self._own = own
        self._stirred = asyncio.Event()
        self._untrusted_heralds: set[str] = set()
        """Who has told of the host's sleep."""

    async def start(self) -> None:
        """Look once, and go on looking at every change until the bus is closed."""
        self._bus.add_message_handler(self._on_message)
        for rule in _RULES:
            await self._bus.ask_bus("AddMatch", "s", [rule])
        await self._look()
        self._bus.spawn(self._follow())

    def _on_message(self, message: Message) -> None:
        """Whatever a signal says, logind itself is asked: so nobody can pretend anything by sending one."""
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "PrepareForSleep":
            self._untrusted_heralds.add(message.sender)
        if (message.path or "").startswith(PATH) or message.member == "NameOwnerChanged":
            self._stirred.set()

    async def _follow(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            try:
                await self._hear_of_sleep()
                await self._look()
            except Exception:
                log.exception("what logind told could not be heeded; its next word will be")

    async def _hear_of_sleep(self) -> None:
        heralds, self._untrusted_heralds = self._untrusted_heralds, set()
        if not heralds:
            return
        try:
            (owner,) = await self._bus.ask_bus("GetNameOwner", "s", [NAME])
        except (DBusError, VirtcardError):
            return
        if owner in heralds:
            self._watcher.on_sleep()

    async def _look(self) -> None:
        try:
            presence = await (self._at_seat() if self._own is None else self._of(self._own))
        except (DBusError, VirtcardError) as error:
            log.info("logind does not say who is there: %s", error)
            presence = nobody(self._own)
        except (KeyError, IndexError, TypeError, ValueError):
            log.warning("logind says something else than expected")
            presence = Presence(None, locked=True)
        self._watcher.on_presence(presence)

    async def _at_seat(self) -> Presence:
        """A seat where somebody is logged in and that shows a greeter or another terminal is as good as locked."""
        path = await self._call(PATH, MANAGER, "GetSeat", "s", "seat0")
        seat = plain(await self._call(path, PROPERTIES, "GetAll", "s", SEAT))
        name, active = seat["ActiveSession"]
        seen = await self._in_session(active) if name else None
        return seen or Presence(None, locked=bool(seat["Sessions"]))

    async def _of(self, uid: int) -> Presence:
        paths = {number: path for number, _, path in await self._call(PATH, MANAGER, "ListUsers", "")}
        if uid not in paths:
            return nobody(uid)
        user = plain(await self._call(paths[uid], PROPERTIES, "GetAll", "s", USER))
        name, display = user["Display"]
        return (await self._in_session(display) if name else None) or nobody(uid)

    async def _in_session(self, path: str) -> Presence | None:
        """The person in a session; one at a seat that another session is seen on is as good as locked."""
        session = plain(await self._call(path, PROPERTIES, "GetAll", "s", SESSION))
        if session["Class"] not in _PEOPLE:
            return None
        hidden = bool(session["Seat"][0]) and session["Active"] is not True
        person = Person(int(session["User"][0]), str(session["Id"]))
        return Presence(person, locked=session["LockedHint"] is not False or hidden)

    async def _call(self, path: str, interface: str, member: str, signature: str, *body: object) -> Any:
        return (await self._bus.ask(NAME, path, interface, member, signature, list(body)))[0]


@asynccontextmanager
async def watch_logind(bus: Bus, watcher: Watcher) -> AsyncIterator[None]:
    """Tell `watcher`, as long as this lasts, for the instance on `bus`; logind itself is on the system bus."""
    if bus.kind is BusKind.SYSTEM:
        await Logind(bus, watcher).start()
        yield
        return
    watcher.on_presence(nobody(os.getuid()))
    system = await _watch_from_afar(watcher)
    again = asyncio.create_task(_keep_watching(watcher, system))
    try:
        yield
    finally:
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def _watch_from_afar(watcher: Watcher) -> Bus | None:
    """A connection to the system bus that watches; None when there is no bus."""
    try:
        system = await Bus.open(BusKind.SYSTEM)
    except Disconnected:
        return None
    try:
        await Logind(system, watcher, own=os.getuid()).start()
    except (DBusError, VirtcardError) as error:
        log.info("logind cannot be watched: %s", error)
        await system.close()
        return None
    except BaseException:
        await system.close()
        raise
    return system


async def _keep_watching(watcher: Watcher, system: Bus | None) -> None:
    """A system bus that goes away, or that is not there yet, is looked for again; what was known holds meanwhile."""
    try:
        while True:
            if system is not None:
                await system.wait_closed()
                await system.close()
                system = None
            await asyncio.sleep(SYSTEM_BUS_PAUSE)
            system = await _watch_from_afar(watcher)
    finally:
        if system is not None:
            await system.close()


def nobody(own: int | None) -> Presence:
    """What holds without logind: nobody at the machine, or the user whose instance this is."""
    return Presence(None if own is None else Person(own, ""))
