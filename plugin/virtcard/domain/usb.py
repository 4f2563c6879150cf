"""Whether a domain's USB can take a reader: usb-ccid is a full-speed device and needs a port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from virtcard.domain.finding import Finding, Severity
from virtcard.domain.model import DomainModel, UsbController

_XHCI: Final = ("qemu-xhci", "nec-xhci")
_XHCI_PORTS: Final = 4
"""Ports of an XHCI controller that does not say `ports`."""
_PORTS: Final = {"piix3-uhci": 2, "piix4-uhci": 2, "pci-ohci": 3, "ehci": 6, "ich9-ehci1": 6}
"""Ports by controller model, as libvirt counts them (virDomainUSBAddressControllerModelToPorts)."""
_COMPANIONS: Final = ("ich9-uhci1", "ich9-uhci2", "ich9-uhci3")
_HUB_PORTS: Final = 8
_HIGH_SPEED_ONLY: Final = ("ehci", "ich9-ehci1")

_XHCI_HINT: Final = "Use a controller like <controller type='usb' model='qemu-xhci' ports='15'/>."


@dataclass(frozen=True, slots=True)
class UsbPlace:
    """A port right on a bus."""

    bus: int
    port: int

    @property
    def qemu_bus(self) -> str:
        """What libvirt has QEMU call the bus (qemu_alias.c)."""
        return f"usb{self.bus or ''}.0"


def free_places(model: DomainModel) -> tuple[UsbPlace, ...]:
    """Ports for a full-speed device that libvirt knows to be free, the last ones first: libvirt itself begins at 1."""
    off = any(controller.model == "none" for controller in model.usb_controllers)
    buses = {controller.index for controller in model.usb_controllers} - _high_speed_only(model)
    return tuple(
        UsbPlace(bus, port)
        for bus in (() if off else sorted(buses))
        for port in range(_port_count(model, bus), 0, -1)
        if not any((taken.bus, taken.port.split(".")[0]) == (bus, str(port)) for taken in model.usb_ports)
    )


def usb_findings(model: DomainModel) -> Iterator[Finding]:
    """What USB has against a reader. Without a USB controller libvirt adds one that fits."""
    if any(controller.model == "none" for controller in model.usb_controllers):
        yield _error("usb-none", "USB is switched off in the domain (<controller type='usb' model='none'/>).")
        return
    bus = _bus(model)
    if bus in _high_speed_only(model):
        yield _error(
            "usb-ehci-only",
            f"USB bus {bus} of the domain is EHCI alone, which takes no full-speed device like a reader.",
        )
    if _is_full(model):
        yield _error("usb-full", "Every USB port of the domain is taken; the reader needs one.")


def _bus(model: DomainModel) -> int | None:
    """The bus the reader is or will be on: libvirt gives a device the first bus with a free port, at any speed."""
    said = next((controller.bus for controller in model.ccid_controllers if controller.index == 0), None)
    free = (controller.index for controller in model.usb_controllers if not _bus_is_full(model, controller.index))
    return min(free, default=None) if said is None else said


def _high_speed_only(model: DomainModel) -> frozenset[int]:
    """USB buses whose every controller is EHCI; a companion shares the index of its EHCI controller."""
    slow = {controller.index for controller in model.usb_controllers if controller.model not in _HIGH_SPEED_ONLY}
    return frozenset(controller.index for controller in model.usb_controllers) - slow


def _is_full(model: DomainModel) -> bool:
    """No bus and no hub has a free port for a new reader. (libvirt adds hubs, but a hub needs a free port too.)"""
    if not model.usb_controllers or any(controller.index == 0 for controller in model.ccid_controllers):
        return False
    free_hub = any(_used(model, hub.bus, f"{hub.port}.") < _HUB_PORTS for hub in model.usb_hubs)
    return not free_hub and all(_bus_is_full(model, controller.index) for controller in model.usb_controllers)


def _bus_is_full(model: DomainModel, bus: int) -> bool:
    """False also when the number of its ports is not known."""
    ports = [_ports(controller) for controller in model.usb_controllers if controller.index == bus]
    return None not in ports and _used(model, bus, "") >= _port_count(model, bus)


def _port_count(model: DomainModel, bus: int) -> int:
    """Those that are known of."""
    return sum(_ports(controller) or 0 for controller in model.usb_controllers if controller.index == bus)


def _ports(controller: UsbController) -> int | None:
    if controller.model in _COMPANIONS:
        return 0
    if controller.model in _XHCI:
        return controller.ports or _XHCI_PORTS
    return _PORTS.get(controller.model)


def _used(model: DomainModel, bus: int, prefix: str) -> int:
    """Devices right on the bus ("") or on a hub ("1.")."""
    ports = (port.port for port in model.usb_ports if port.bus == bus)
    return sum(port.startswith(prefix) and "." not in port[len(prefix) :] for port in ports)


def _error(code: str, message: str) -> Finding:
    return Finding(Severity.ERROR, code, message, _XHCI_HINT)
