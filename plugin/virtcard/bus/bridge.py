"""org.virtcard1.Bridge, one object for each running bridge."""

from typing import ClassVar

from dbus_next.constants import PropertyAccess
from dbus_next.service import dbus_property

from virtcard.bus.shown import Shown
from virtcard.bus.values import text
from virtcard.names import BRIDGE, domain_path
from virtcard.service.views import BridgeView


class BridgeInterface(Shown[BridgeView]):
    """The link between one virtual reader and one card."""

    silent: ClassVar[frozenset[str]] = frozenset(
        {"Apdus", "Commands", "Refused", "PinFailures", "PinStops", "Errors", "BytesSent", "BytesReceived"}
    )

    def __init__(self, view: BridgeView) -> None:
        super().__init__(BRIDGE, view)

    @dbus_property(access=PropertyAccess.READ)
    def Domain(self) -> "o":
        return domain_path(self.view.uuid)

    @dbus_property(access=PropertyAccess.READ)
    def Slot(self) -> "u":
        return self.view.slot

    @dbus_property(access=PropertyAccess.READ)
    def Source(self) -> "s":
        return text(self.view.source)

    @dbus_property(access=PropertyAccess.READ)
    def Endpoint(self) -> "s":
        return text(self.view.endpoint)

    @dbus_property(access=PropertyAccess.READ)
    def State(self) -> "s":
        return self.view.state.value

    @dbus_property(access=PropertyAccess.READ)
    def Since(self) -> "t":
        return self.view.since

    @dbus_property(access=PropertyAccess.READ)
    def Apdus(self) -> "t":
        return self.view.apdus

    @dbus_property(access=PropertyAccess.READ)
    def Active(self) -> "b":
        return self.view.active

    @dbus_property(access=PropertyAccess.READ)
    def Commands(self) -> "a{st}":
        return self.view.counts.commands

    @dbus_property(access=PropertyAccess.READ)
    def Refused(self) -> "t":
        return self.view.counts.refused

    @dbus_property(access=PropertyAccess.READ)
    def PinFailures(self) -> "t":
        return self.view.counts.pin_failures

    @dbus_property(access=PropertyAccess.READ)
    def PinStops(self) -> "t":
        return self.view.counts.pin_stops

    @dbus_property(access=PropertyAccess.READ)
    def Errors(self) -> "t":
        return self.view.counts.errors

    @dbus_property(access=PropertyAccess.READ)
    def BytesSent(self) -> "t":
        return self.view.counts.bytes_sent

    @dbus_property(access=PropertyAccess.READ)
    def BytesReceived(self) -> "t":
        return self.view.counts.bytes_received

    @dbus_property(access=PropertyAccess.READ)
    def TracedBy(self) -> "as":
        return [text(user) for user in self.view.traced_by]

    @dbus_property(access=PropertyAccess.READ)
    def LastError(self) -> "s":
        return text(self.view.last_error)

    @dbus_property(access=PropertyAccess.READ)
    def Hint(self) -> "s":
        return text(self.view.hint)
