"""org.virtcard1.Reader, one object for each host PC/SC reader."""

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property

from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.names import READER, domain_path
from virtcard.service.views import ReaderView


class ReaderInterface(Shown[ReaderView]):
    """One host PC/SC reader."""

    def __init__(self, view: ReaderView) -> None:
        super().__init__(READER, view)

    @dbus_property(access=PropertyAccess.READ)
    def Name(self) -> "s":
        return text(self.view.name)

    @dbus_property(access=PropertyAccess.READ)
    def Present(self) -> "b":
        return self.view.present

    @dbus_property(access=PropertyAccess.READ)
    def Atr(self) -> "ay":
        return self.view.atr

    @dbus_property(access=PropertyAccess.READ)
    def Domains(self) -> "ao":
        return [domain_path(uuid) for uuid in self.view.domains]
