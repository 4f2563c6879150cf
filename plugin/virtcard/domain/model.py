"""What virtcard reads from a domain XML, and which smart card device is ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

from lxml import etree

from virtcard.domain import xmlfile
from virtcard.domain.saved import PUT
from virtcard.domain.smartcard import CcidAddress as CcidAddress  # noqa: PLC0414 (a word of the model too)
from virtcard.domain.smartcard import Smartcard as Smartcard  # noqa: PLC0414
from virtcard.domain.smartcard import number, read_smartcard
from virtcard.domain.smartcard import socket_owner as socket_owner  # noqa: PLC0414
from virtcard.errors import InvalidXml

_MODELS_KEPT: Final = 8
"""XML texts whose model is remembered: one look at a domain reads its two again and again."""

QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"


@dataclass(frozen=True, slots=True)
class UsbController:
    """One `<controller type='usb'>`; `model` is "" when libvirt shall choose, `ports` 0 when not said."""

    index: int
    model: str
    ports: int = 0


@dataclass(frozen=True, slots=True)
class CcidController:
    """One `<controller type='ccid'>`; `bus` is the USB bus of its address, or None."""

    index: int
    bus: int | None = None


@dataclass(frozen=True, slots=True)
class UsbPort:
    """A place on a USB bus: `port` is "1", or "1.2" on the hub in port 1."""

    bus: int
    port: str


@dataclass(frozen=True, slots=True)
class DomainModel:
    """One domain XML, as far as virtcard cares."""

    uuid: UUID | None
    name: str
    type: str
    emulator: str
    arch: str
    machine: str
    smartcards: tuple[Smartcard, ...]
    usb_controllers: tuple[UsbController, ...]
    ccid_controllers: tuple[CcidController, ...]
    usb_ports: tuple[UsbPort, ...]
    """Ports that devices have an address on, hubs among them."""
    usb_hubs: tuple[UsbPort, ...]
    """Those of the hubs."""
    spice: bool
    """It has SPICE graphics."""
    qemu_commandline: bool
    """It passes arguments of its own to QEMU."""
    spice_smartcard_argument: bool = False
    """One of these arguments is the character device of a SPICE smart card."""
    put: Smartcard | None = None
    """The device that enable put in, as the metadata remembers it; a bridge's socket speaks for itself."""
    tcp_ports: tuple[int, ...] = ()
    """TCP ports that QEMU listens on for this domain, those of our reader left out."""

    @property
    def reader(self) -> Smartcard | None:
        """Our virtual reader of this very domain, or None."""
        return next((card for card in self.smartcards if self.owns(card)), None)

    @property
    def foreign(self) -> Smartcard | None:
        """The first smart card device that is not ours, or None."""
        return next((card for card in self.smartcards if not self.is_ours(card)), None)

    def is_ours(self, card: Smartcard) -> bool:
        """virtcard put it there: by its socket, which may be a clone's, or by what the metadata remembers."""
        return card.owner is not None or (self.put is not None and card.device == self.put.device)

    def owns(self, card: Smartcard) -> bool:
        """It is ours, and no socket of another domain (a clone's carries the original's UUID)."""
        return self.is_ours(card) and card.owner in (None, self.uuid)


@lru_cache(_MODELS_KEPT)
def parse_domain(xml: str) -> DomainModel:
    """Read a domain XML; InvalidXml when it is none."""
    return read_model(xmlfile.parse(xml))


def read_model(root: etree._Element) -> DomainModel:
    """The model of a parsed domain XML."""
    if root.tag != "domain":
        raise InvalidXml("This XML is not a libvirt domain.", hint="Its root element must be <domain>.")
    os_type = root.find("./os/type")
    return DomainModel(
        uuid=_uuid(root),
        name=_text(root, "./name"),
        type=root.get("type", ""),
        emulator=_text(root, "./devices/emulator"),
        arch="" if os_type is None else os_type.get("arch", ""),
        machine="" if os_type is None else os_type.get("machine", ""),
        smartcards=tuple(read_smartcard(element) for element in smartcard_elements(root)),
        usb_controllers=tuple(_usb(element) for element in _controllers(root, "usb")),
        ccid_controllers=tuple(_ccid(element) for element in ccid_elements(root)),
        usb_ports=tuple(_usb_ports(root, "*")),
        usb_hubs=tuple(_usb_ports(root, "hub")),
        spice=any(element.get("type") == "spice" for element in root.iterfind("./devices/graphics")),
        qemu_commandline=root.find(f"./{{{QEMU_NAMESPACE}}}commandline") is not None,
        spice_smartcard_argument=any(_is_spice_smartcard(text) for text in _qemu_arguments(root)),
        put=_put(root),
        tcp_ports=tuple(_tcp_ports(root)),
    )


def smartcard_elements(root: etree._Element) -> list[etree._Element]:
    """The `<smartcard>` elements, in the order of `DomainModel.smartcards`."""
    return list(root.iterfind("./devices/smartcard"))


def ccid_elements(root: etree._Element) -> list[etree._Element]:
    """The `<controller type='ccid'>` elements, in the order of `DomainModel.ccid_controllers`."""
    return list(_controllers(root, "ccid"))


def _put(root: etree._Element) -> Smartcard | None:
    element = root.find(f"./metadata/{PUT}/smartcard")
    return None if element is None else read_smartcard(element)


def _qemu_arguments(root: etree._Element) -> Iterator[str]:
    arguments = root.iterfind(f"./{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}arg")
    return (element.get("value", "") for element in arguments)


def _is_spice_smartcard(argument: str) -> bool:
    """The value of a `-chardev`: `spicevmc,id=...,name=smartcard`, or with `backend=`, or as JSON."""
    return "spicevmc" in argument and "smartcard" in argument


def _tcp_ports(root: etree._Element) -> Iterator[int]:
    """Character devices that listen, and fixed ports of graphics."""
    for source in root.iterfind("./devices/*/source[@mode='bind'][@service]"):
        parent = source.getparent()
        if parent is not None and parent.tag != "smartcard":
            yield number(source.get("service"))
    for graphics in root.iterfind("./devices/graphics"):
        yield from filter(None, (number(graphics.get("port")), number(graphics.get("tlsPort"))))


def _controllers(root: etree._Element, kind: str) -> Iterator[etree._Element]:
    return (element for element in root.iterfind("./devices/controller") if element.get("type") == kind)


def _uuid(root: etree._Element) -> UUID | None:
    text = _text(root, "./uuid")
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise InvalidXml(f"'{text[:64]}' is not a UUID.", hint="Correct or remove the <uuid> of the domain.") from None


def _text(root: etree._Element, path: str) -> str:
    return (root.findtext(path) or "").strip()


def _usb(element: etree._Element) -> UsbController:
    return UsbController(number(element.get("index")), element.get("model", ""), number(element.get("ports")))


def _usb_ports(root: etree._Element, device: str) -> Iterator[UsbPort]:
    for address in root.iterfind(f"./devices/{device}/address"):
        if address.get("type") == "usb":
            yield UsbPort(number(address.get("bus")), address.get("port", ""))


def _ccid(element: etree._Element) -> CcidController:
    address = element.find("address")
    on_usb = address is not None and address.get("type") == "usb"
    bus = number(address.get("bus")) if address is not None and on_usb else None
    return CcidController(number(element.get("index")), bus)
