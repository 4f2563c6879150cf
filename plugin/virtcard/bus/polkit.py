"""polkit: may this user drive the daemon?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from dbus_next.errors import DBusError
from dbus_next.signature import Variant

from virtcard.bus.caller import Caller
from virtcard.bus.connection import Bus
from virtcard.errors import VirtcardError

log = logging.getLogger(__name__)

_NAME: Final = "org.freedesktop.PolicyKit1"
_PATH: Final = "/org/freedesktop/PolicyKit1/Authority"
_INTERFACE: Final = "org.freedesktop.PolicyKit1.Authority"

_ALLOW_USER_INTERACTION: Final = 1
_ABSENT: Final = ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
_ABSENT_PREFIX: Final = "org.freedesktop.DBus.Error.Spawn."


class PolkitAbsent(Exception):
    """polkit is not installed or does not start."""


class Polkit:
    """polkit's authority, over the bus that it shares with us."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def check(self, caller: Caller, action: str, details: Mapping[str, str], cancellation_id: str) -> bool:
        """Ask, and wait for as long as a person thinks it over. PolkitAbsent when there is no polkit.

        The subject is the bus name: a process id may belong to somebody else by the time polkit looks."""
        subject = ["system-bus-name", {"name": Variant("s", caller.sender)}]
        flags = _ALLOW_USER_INTERACTION if caller.interactive else 0
        body: list[Any] = [subject, action, dict(details), flags, cancellation_id]
        try:
            reply = await self._call("CheckAuthorization", "(sa{sv})sa{ss}us", body, timeout=None)
        except DBusError as error:
            if error.type in _ABSENT or error.type.startswith(_ABSENT_PREFIX):
                raise PolkitAbsent(error.type) from error
            log.warning("polkit did not check %s: %s", action, error.text)
            return False
        authorized, _challenge, _details = reply[0]
        return authorized is True

    async def cancel(self, cancellation_id: str) -> None:
        """Take a question back. Never raises: polkit may be done with it, or gone."""
        try:
            await self._call("CancelCheckAuthorization", "s", [cancellation_id], timeout=5.0)
        except (DBusError, VirtcardError) as error:
            log.debug("polkit did not cancel a check: %s", error)

    async def _call(self, member: str, signature: str, body: list[Any], *, timeout: float | None) -> list[Any]:
        return await self._bus.ask(_NAME, _PATH, _INTERFACE, member, signature, body, timeout=timeout)
