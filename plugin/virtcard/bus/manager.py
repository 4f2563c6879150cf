"""org.virtcard1.Manager, on the root object."""

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property, method

from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.names import MANAGER, domain_path
from virtcard.service.api import Service
from virtcard.service.views import StatusView


class ManagerInterface(Shown[StatusView]):
    """The daemon itself."""

    def __init__(self, service: Service, view: StatusView) -> None:
        super().__init__(MANAGER, view)
        self._service = service

    @method()
    async def FindDomain(self, text: "s") -> "o":
        return domain_path(await self._service.find_domain(text))

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
