"""Domain XML for tests, and node files for libvirt's test driver."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid5

NAMESPACE = UUID("6f1c6a52-1f0b-4c53-8f0e-6a0a4f1b7d10")

XHCI = "<controller type='usb' index='0' model='qemu-xhci'/>"
UHCI = "<controller type='usb' index='0' model='piix3-uhci'/>"
EHCI_ONLY = "<controller type='usb' index='0' model='ich9-ehci1'/>"


def domain_uuid(name: str) -> UUID:
    """The UUID that the domains here have: the same for the same name, always."""
    return uuid5(NAMESPACE, name)


def reader_xml(socket: Path | str) -> str:
    """A virtual reader whose socket QEMU listens on."""
    return (
        "<controller type='ccid' index='0'/>"
        f"<smartcard mode='passthrough' type='unix'><source mode='bind' path='{socket}'/>"
        "<address type='ccid' controller='0' slot='0'/></smartcard>"
    )


def domain_xml(name: str, *, devices: str = "", metadata: str = "", extra: str = "", uuid: UUID | None = None) -> str:
    """A domain of the test driver; `extra` comes last in `<domain>`."""
    return (
        f"<domain type='test'><name>{name}</name><uuid>{uuid or domain_uuid(name)}</uuid>"
        f"<metadata>{metadata}</metadata><memory unit='KiB'>1024</memory>"
        f"<os><type>hvm</type></os><devices>{devices}</devices>{extra}</domain>"
    )


def qemu_xml(name: str, *, devices: str = "", usb: str = XHCI) -> str:
    """A small guest under TCG, without a disk: its firmware looks for something to boot for ever."""
    return (
        f"<domain type='qemu'><name>{name}</name><uuid>{domain_uuid(name)}</uuid><memory unit='MiB'>32</memory>"
        f"<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>{usb}{devices}"
        "<memballoon model='none'/></devices></domain>"
    )


def node_uri(path: Path, names: list[str], *, running: bool = False) -> str:
    """Write a node file with these domains and give its libvirt URI. Such a node lives as long as its connection."""
    domains = "".join(domain_xml(name, extra=_runstate(running)) for name in names)
    path.write_text(f"<node>{domains}</node>")
    return f"test://{path}"


def _runstate(running: bool) -> str:
    """The state that the test driver puts a domain of a node file in: virDomainState."""
    return (
        f"<test:runstate xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>{1 if running else 5}</test:runstate>"
    )
