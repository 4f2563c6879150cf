"""Who may call what. A member that the table does not name is refused."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Final
from uuid import UUID, uuid4

from dbus_next.errors import DBusError

from virtcard import limits
from virtcard.bus.address import BusKind
from virtcard.bus.caller import Caller, current_caller, known_user, named_user, note_user
from virtcard.bus.connection import Bus
from virtcard.bus.places import Places
from virtcard.bus.polkit import Polkit, PolkitAbsent
from virtcard.bus.watch import leaving
from virtcard.errors import Busy, NotAuthorized
from virtcard.names import (
    ACTION_EJECT,
    ACTION_ENABLE,
    ACTION_INSERT,
    ACTION_MANAGE_CARDS,
    ACTION_POLICY,
    ACTION_TRACE,
    CARD,
    DOMAIN,
    MANAGER,
)
from virtcard.service.record import Event, Record, Recorder
from virtcard.service.throttle import Throttle

log = logging.getLogger(__name__)

OPEN: Final = "open"
"""For everybody, without a check: it tells hardly more than the bus shows to all, and changes nothing but the
caller's own."""

LOOK: Final = "look"
"""For everybody as well, and for each user only some at a time: libvirt, files, threads or the bus have work of it."""

TABLE: Final[Mapping[str, str]] = {
    f"{MANAGER}.FindDomain": OPEN,
    f"{MANAGER}.RegisterAgent": LOOK,
    f"{MANAGER}.UnregisterAgent": OPEN,
    f"{MANAGER}.Reload": ACTION_POLICY,
    f"{MANAGER}.ListGrants": LOOK,
    f"{MANAGER}.RevokeGrant": ACTION_POLICY,
    f"{DOMAIN}.Check": LOOK,
    f"{DOMAIN}.Enable": ACTION_ENABLE,
    f"{DOMAIN}.Disable": ACTION_ENABLE,
    f"{DOMAIN}.Insert": ACTION_INSERT,
    f"{DOMAIN}.Eject": ACTION_EJECT,
    f"{MANAGER}.CreateCard": ACTION_MANAGE_CARDS,
    f"{MANAGER}.ImportCard": ACTION_MANAGE_CARDS,
    f"{CARD}.ImportKey": ACTION_MANAGE_CARDS,
    f"{CARD}.ChangePin": ACTION_MANAGE_CARDS,
    f"{CARD}.ChangePuk": ACTION_MANAGE_CARDS,
    f"{CARD}.Unblock": ACTION_MANAGE_CARDS,
    f"{CARD}.Delete": ACTION_MANAGE_CARDS,
    f"{CARD}.GetCertificates": LOOK,
    f"{DOMAIN}.Trace": ACTION_TRACE,
}
"""`interface.member` -> polkit action, OPEN or LOOK. (`Enable` with `dry-run` too: a diff shows the domain's XML.)"""

_FOR_ALL: Final = frozenset({OPEN, LOOK})

CONFIG: Final = "config"
"""The detail of a call that changes a domain's configuration as well, which is what ACTION_ENABLE is about: a wish
gives the domain a reader."""

OWNER: Final = "owner"
"""The detail that tells by uid whose the object of a call is: its owner needs no other leave."""

_AS_ROOT: Final = "Run it as root (sudo), or from a session where a polkit agent can ask for a password."


class Bouncer:
    """Stands before every exported method of one bus.

    System bus: root, or whom polkit lets pass; without polkit only root. Session bus: the daemon's own user. Who was
    admitted and who was turned away goes on record."""

    def __init__(self, bus: Bus, record: Recorder, table: Mapping[str, str] = TABLE) -> None:
        self._bus = bus
        self._record = record
        self._throttle = Throttle()
        self._table = table
        self._polkit = Polkit(bus)
        self._checks = Places(
            limits.CHECKS_PER_USER,
            Busy("Too many of your calls wait for a password.", hint="Answer or close the open dialogs."),
        )
        self._looks = Places(
            limits.LOOKS_PER_USER, Busy("Too many of your calls are in work.", hint="Wait for the answer to others.")
        )

    @asynccontextmanager
    async def admit(self, interface: str, member: str, details: Mapping[str, str]) -> AsyncIterator[None]:
        """Around a call that the current caller may make; NotAuthorized when not, Busy when there are too many."""
        action = self._table.get(f"{interface}.{member}")
        if action is None:
            log.error("%s.%s is not in the bouncer's table", interface, member)
            raise NotAuthorized(f"Nobody may call {interface}.{member}.")
        if action == OPEN and self._bus.kind is BusKind.SYSTEM:
            yield
        elif action == LOOK and self._bus.kind is BusKind.SYSTEM:
            uid = await self._uid_of(current_caller())
            with self._looks.taken(uid) if uid else nullcontext():
                yield
        else:
            await self._judge(member, action, details)
            yield

    async def _judge(self, member: str, action: str, details: Mapping[str, str]) -> None:
        """Return when the caller may; who was admitted and who was not goes on record."""
        actions = dict.fromkeys((action, ACTION_ENABLE) if CONFIG in details else (action,))
        for each in actions:
            try:
                await self._check(current_caller(), each, details)
            except NotAuthorized as error:
                self._note(Event.TURNED_AWAY, member, each, details, error.message)
                raise
        self._note(Event.ADMITTED, member, ", ".join(actions), details)

    async def _check(self, caller: Caller, action: str, details: Mapping[str, str]) -> None:
        if self._bus.kind is BusKind.SYSTEM:
            await self._admit_by_polkit(caller, action, details)
        elif await self._user_of(caller) != os.getuid():
            raise NotAuthorized("This virtcardd serves its own user only.")

    def _note(self, event: Event, member: str, action: str, details: Mapping[str, str], reason: str = "") -> None:
        """Looking is not put on record, and nobody can fill the journal with calls that are not theirs to make."""
        if action in _FOR_ALL or (user := known_user()) is None:
            return
        name, source = details.get("domain", ""), _source_in(details)
        call = member + (f" for {name}" if name else "") + (f" with {source}" if source else "")
        times = 1
        if event is Event.TURNED_AWAY and not (times := self._throttle.happened((user.uid, action))):
            return
        verdict = "may" if event is Event.ADMITTED else "may not"
        often = f", {times} times" if times > 1 else ""
        sentence = f"{user.name} {verdict} call {call} ({action}){often}."
        uuid = UUID(details["uuid"]) if "uuid" in details else None
        self._record(Record(event, sentence, uuid, name, source, user=user.name, reason=reason))

    async def _admit_by_polkit(self, caller: Caller, action: str, details: Mapping[str, str]) -> None:
        user = await self._uid_of(caller)
        if user == 0 or details.get(OWNER) == str(user):
            note_user(await named_user(user))
            return
        # Counted before the bus is asked to tell who leaves: it takes so many rules from us, for all callers together.
        with self._checks.taken(user):
            note_user(await named_user(user))
            async with leaving(self._bus, caller.sender) as gone:
                await self._uid_of(caller)  # it may have left before
                authorized = await self._ask_polkit(caller, action, details, gone)
        if not authorized:
            raise NotAuthorized(f"You are not authorized to do that ({action}).", hint=_AS_ROOT)

    async def _ask_polkit(self, caller: Caller, action: str, details: Mapping[str, str], gone: asyncio.Event) -> bool:
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
        """The caller's uid, noted with the name for the rest of the call; NotAuthorized when the caller is gone."""
        uid = await self._uid_of(caller)
        note_user(await named_user(uid))
        return uid

    async def _uid_of(self, caller: Caller) -> int:
        try:
            return int((await self._bus.ask_bus("GetConnectionUnixUser", "s", [caller.sender]))[0])
        except DBusError as error:
            raise NotAuthorized("The caller left.") from error


def _source_in(details: Mapping[str, str]) -> str:
    """The source that a call is about: a call to a software card is about that card."""
    return f"card:{details['card']}" if "card" in details else details.get("source", "")
