"""Who may call what. A member that the table does not name is refused."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

from dbus_next.errors import DBusError

from virtcard import limits
from virtcard.bus.address import BusKind
from virtcard.bus.caller import Caller, current_caller
from virtcard.bus.connection import Bus
from virtcard.bus.polkit import Polkit, PolkitAbsent, Verdict
from virtcard.bus.watch import leaving
from virtcard.errors import Busy, NotAuthorized
from virtcard.names import (
    ACTION_EJECT,
    ACTION_ENABLE,
    ACTION_INSERT,
    DOMAIN,
    MANAGER,
)

log = logging.getLogger(__name__)

OPEN: Final = "open"
"""For everybody, without a check: it tells hardly more than the bus shows to all, and changes nothing but the
caller's own."""

TABLE: Final[Mapping[str, str]] = {
    f"{MANAGER}.FindDomain": OPEN,
    f"{MANAGER}.RegisterAgent": OPEN,
    f"{MANAGER}.UnregisterAgent": OPEN,
    f"{DOMAIN}.Check": OPEN,
    f"{DOMAIN}.Enable": ACTION_ENABLE,
    f"{DOMAIN}.Disable": ACTION_ENABLE,
    f"{DOMAIN}.Insert": ACTION_INSERT,
    f"{DOMAIN}.Eject": ACTION_EJECT,
}
"""`interface.member` -> polkit action, or OPEN. (`Enable` with `dry-run` too: a diff shows the domain's XML.)"""

_AS_ROOT: Final = "Run it as root (sudo), or from a session where a polkit agent can ask for a password."


class Bouncer:
    """Stands before every exported method of one bus.

    System bus: root, or whom polkit lets pass; without polkit only root. Session bus: the daemon's own user."""

    def __init__(self, bus: Bus, table: Mapping[str, str] = TABLE) -> None:
        self._bus = bus
        self._table = table
        self._polkit = Polkit(bus)
        self._open_checks: Counter[int] = Counter()

    async def admit(self, interface: str, member: str, details: Mapping[str, str]) -> None:
        """Return when the current caller may call this; NotAuthorized when not, Busy when too many ask."""
        action = self._table.get(f"{interface}.{member}")
        if action is None:
            log.error("%s.%s is not in the bouncer's table", interface, member)
            raise NotAuthorized(f"Nobody may call {interface}.{member}.")
        caller = current_caller()
        if self._bus.kind is BusKind.SESSION:
            await self._admit_same_user(caller)
        elif action != OPEN:
            await self._admit_by_polkit(caller, action, details)

    async def _admit_same_user(self, caller: Caller) -> None:
        if await self._user_of(caller) != os.getuid():
            raise NotAuthorized("This virtcardd serves its own user only.")

    async def _admit_by_polkit(self, caller: Caller, action: str, details: Mapping[str, str]) -> None:
        async with leaving(self._bus, caller.sender) as gone:
            user = await self._user_of(caller)
            if user == 0:
                return
            if self._open_checks[user] >= limits.CHECKS_PER_USER:
                raise Busy("Too many of your calls wait for a password.", hint="Answer or close the open dialogs.")
            self._open_checks[user] += 1
            try:
                verdict = await self._ask_polkit(caller, action, details, gone)
            finally:
                self._open_checks -= Counter({user: 1})
        if not verdict.authorized:
            raise NotAuthorized(f"You are not authorized to do that ({action}).", hint=_AS_ROOT)

    async def _ask_polkit(
        self, caller: Caller, action: str, details: Mapping[str, str], gone: asyncio.Event
    ) -> Verdict:
        """polkit's verdict. When the caller leaves, or we end, the question is taken back."""
        cancellation_id = uuid4().hex
        check = asyncio.ensure_future(self._polkit.check(caller, action, details, cancellation_id))
        left = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait({check, left}, return_when=asyncio.FIRST_COMPLETED)
            if not check.done():
                raise NotAuthorized("The caller left.")
            return check.result()
        except PolkitAbsent as error:
            raise NotAuthorized("Only root may do that while polkit is not there.", hint=_AS_ROOT) from error
        finally:
            left.cancel()
            if not check.done():
                check.cancel()
                self._bus.spawn(self._polkit.cancel(cancellation_id))

    async def _user_of(self, caller: Caller) -> int:
        """The caller's uid; NotAuthorized when the caller is gone."""
        try:
            return int((await self._bus.ask_bus("GetConnectionUnixUser", "s", [caller.sender]))[0])
        except DBusError as error:
            raise NotAuthorized("The caller left.") from error
