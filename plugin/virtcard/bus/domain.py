"""org.virtcard1.Domain, one object for each libvirt domain."""

import os
from typing import Any, Final

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property, method
from dbus_next.signature import Variant

from virtcard.bus.bouncer import CONFIG
from virtcard.bus.caller import current_user, known_user
from virtcard.bus.options import (
    changes_config,
    disable_options,
    enable_options,
    insert_options,
    no_options,
    slot_option,
)
from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.domain.finding import Finding
from virtcard.errors import NotAuthorized
from virtcard.names import DOMAIN, bridge_path
from virtcard.service.api import Caller, Service
from virtcard.service.views import Change, DomainView

NO_BRIDGE: Final = "/"
"""The object path that stands for none, as NetworkManager and others use it."""


class DomainInterface(Shown[DomainView]):
    """One libvirt domain and its virtual reader."""

    def __init__(self, service: Service, view: DomainView) -> None:
        super().__init__(DOMAIN, view)
        self._service = service

    def details(self, member: str, arguments: list[Any]) -> dict[str, str]:
        known = {"domain": text(self.view.name), "uuid": str(self.view.uuid)}
        if member == "Insert":
            known["source"] = text(self._service.meant(arguments[0]))
        if member in {"Insert", "Eject"} and changes_config(arguments[-1]):
            known[CONFIG] = "true"
        return known

    @method()
    async def Enable(self, options: "a{sv}") -> "a{sv}":
        return change_values(await self._service.enable(self.view.uuid, enable_options(options), calling()))

    @method()
    async def Disable(self, options: "a{sv}") -> "a{sv}":
        return change_values(await self._service.disable(self.view.uuid, disable_options(options)))

    @method()
    async def Insert(self, source: "s", options: "a{sv}") -> "o":
        key = await self._service.insert(self.view.uuid, source, calling(), insert_options(options))
        return bridge_path(*key) if key else NO_BRIDGE

    @method()
    async def Eject(self, options: "a{sv}"):  # type: ignore[no-untyped-def]
        await self._service.eject(self.view.uuid, insert_options(options))

    @method()
    async def Trace(self, options: "a{sv}") -> "s":
        slot = slot_option(options)
        user = current_user()
        return str(self._service.tracing.open(self.view.uuid, user.uid, user.name, slot))

    @method()
    async def Check(self, options: "a{sv}") -> "aa{ss}":
        no_options(options)
        return findings_values(await self._service.check(self.view.uuid))

    @dbus_property(access=PropertyAccess.READ)
    def Name(self) -> "s":
        return text(self.view.name)

    @dbus_property(access=PropertyAccess.READ)
    def Uuid(self) -> "s":
        return str(self.view.uuid)

    @dbus_property(access=PropertyAccess.READ)
    def Id(self) -> "i":
        return self.view.id

    @dbus_property(access=PropertyAccess.READ)
    def State(self) -> "s":
        return text(self.view.state)

    @dbus_property(access=PropertyAccess.READ)
    def Persistent(self) -> "b":
        return self.view.persistent

    @dbus_property(access=PropertyAccess.READ)
    def Enabled(self) -> "b":
        return self.view.enabled

    @dbus_property(access=PropertyAccess.READ)
    def Live(self) -> "b":
        return self.view.live

    @dbus_property(access=PropertyAccess.READ)
    def Reader(self) -> "s":
        return self.view.reader.value

    @dbus_property(access=PropertyAccess.READ)
    def Mode(self) -> "s":
        return self.view.mode

    @dbus_property(access=PropertyAccess.READ)
    def Wish(self) -> "s":
        return text(self.view.wish)

    @dbus_property(access=PropertyAccess.READ)
    def Card(self) -> "s":
        return text(self.view.card)

    @dbus_property(access=PropertyAccess.READ)
    def Tags(self) -> "as":
        return list(self.view.tags)

    @dbus_property(access=PropertyAccess.READ)
    def HotPlugged(self) -> "au":
        return list(self.view.hotplugged)

    @dbus_property(access=PropertyAccess.READ)
    def Foreign(self) -> "s":
        return text(self.view.foreign)

    @dbus_property(access=PropertyAccess.READ)
    def LastError(self) -> "s":
        return text(self.view.last_error)

    @dbus_property(access=PropertyAccess.READ)
    def Hint(self) -> "s":
        return text(self.view.hint)


def calling() -> Caller:
    """Whose call is in work, as the service wants to know it."""
    user = known_user()
    if user is None:
        raise NotAuthorized("Nobody is known to have called.")
    return Caller(user.name, is_owner=user.uid in {0, os.getuid()})


def change_values(change: Change) -> dict[str, Variant]:
    """A Change as `a{sv}`."""
    return {
        "changed": Variant("b", change.changed),
        "diff": Variant("s", text(change.diff)),
        "pending": Variant("b", change.pending),
        "findings": Variant("aa{ss}", findings_values(change.findings)),
        "slots": Variant("au", list(change.slots)),
    }


def findings_values(findings: tuple[Finding, ...]) -> list[dict[str, str]]:
    """Findings as `aa{ss}`."""
    return [
        {
            "severity": finding.severity.value,
            "code": finding.code,
            "message": text(finding.message),
            "hint": text(finding.hint),
        }
        for finding in findings
    ]
