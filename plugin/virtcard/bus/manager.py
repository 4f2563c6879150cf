"""org.virtcard1.Manager, on the root object."""

from typing import Any

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property, method
from dbus_next.signature import Variant

from virtcard.bus.agents import AgentDoor
from virtcard.bus.bouncer import OWNER
from virtcard.bus.caller import calling_user
from virtcard.bus.options import create_options, import_options, no_options
from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.names import MANAGER, domain_path
from virtcard.service.api import Service
from virtcard.service.grants import Grant
from virtcard.service.views import StatusView


class ManagerInterface(Shown[StatusView]):
    """The daemon itself."""

    def __init__(self, service: Service, view: StatusView, agents: AgentDoor) -> None:
        super().__init__(MANAGER, view)
        self._service = service
        self._agents = agents

    def details(self, member: str, arguments: list[Any]) -> dict[str, str]:
        if member in {"CreateCard", "ImportCard"}:
            return {"card": arguments[0]}
        if member != "RevokeGrant":
            return {}
        grant = self._service.grants.get(arguments[0])
        known = {"domain": text(grant.domain), "uuid": str(grant.uuid), "source": text(grant.source)}
        return known | {OWNER: str(grant.uid)}

    @method()
    async def FindDomain(self, text: "s") -> "o":
        return domain_path(await self._service.find_domain(text))

    @method()
    async def RegisterAgent(self, path: "o"):  # type: ignore[no-untyped-def]
        await self._agents.register(path)

    @method()
    def UnregisterAgent(self, path: "o"):  # type: ignore[no-untyped-def]
        self._agents.unregister(path)

    @method()
    async def CreateCard(self, name: "s", options: "a{sv}") -> "s":
        return await self._service.cards.create(calling_user(), name, create_options(options))

    @method()
    async def ImportCard(self, name: "s", options: "a{sv}") -> "s":
        return await self._service.cards.import_card(calling_user(), name, import_options(options))

    @method()
    async def Reload(self, options: "a{sv}"):  # type: ignore[no-untyped-def]
        no_options(options)
        await self._service.reload_policy()

    @method()
    def ListGrants(self, options: "a{sv}") -> "aa{sv}":
        no_options(options)
        return [grant_values(grant) for grant in self._service.grants.all()]

    @method()
    def RevokeGrant(self, id: "s", options: "a{sv}"):  # type: ignore[no-untyped-def]
        no_options(options)
        self._service.grants.revoke(id)

    @dbus_property(access=PropertyAccess.READ)
    def Version(self) -> "s":
        return self.view.version

    @dbus_property(access=PropertyAccess.READ)
    def Uri(self) -> "s":
        return text(self.view.uri)

    @dbus_property(access=PropertyAccess.READ)
    def Libvirt(self) -> "s":
        return self.view.libvirt

    @dbus_property(access=PropertyAccess.READ)
    def Pcsc(self) -> "s":
        return self.view.pcsc

    @dbus_property(access=PropertyAccess.READ)
    def Instance(self) -> "s":
        return self.view.instance

    @dbus_property(access=PropertyAccess.READ)
    def Policy(self) -> "s":
        return self.view.policy

    @dbus_property(access=PropertyAccess.READ)
    def PolicyError(self) -> "s":
        return text(self.view.policy_error)

    @dbus_property(access=PropertyAccess.READ)
    def Started(self) -> "t":
        return self.view.started

    @dbus_property(access=PropertyAccess.READ)
    def LibvirtError(self) -> "s":
        return text(self.view.libvirt_error)

    @dbus_property(access=PropertyAccess.READ)
    def Versions(self) -> "a{ss}":
        return versions(self.view)

    @dbus_property(access=PropertyAccess.READ)
    def Metrics(self) -> "s":
        return text(self.view.metrics)

    @dbus_property(access=PropertyAccess.READ)
    def Agents(self) -> "au":
        return list(self.view.agents)


def versions(view: StatusView) -> dict[str, str]:
    """Those that are known, by name."""
    every = {
        "virtcard": view.version,
        "libvirt": view.libvirt_version,
        "qemu": view.qemu_version,
        "pcsc-lite": view.pcsc_version,
    }
    return {name: text(version) for name, version in every.items() if version}


def grant_values(grant: Grant) -> dict[str, Variant]:
    """A Grant as `a{sv}`."""
    return {
        "id": Variant("s", grant.id),
        "user": Variant("s", text(grant.user)),
        "uid": Variant("u", grant.uid),
        "when": Variant("t", int(grant.when.timestamp()) * 1_000_000),
        "uuid": Variant("s", str(grant.uuid)),
        "domain": Variant("s", text(grant.domain)),
        "source": Variant("s", text(grant.source)),
        "atr": Variant("s", text(grant.atr)),
        "operations": Variant("as", sorted(grant.operations)),
    }
