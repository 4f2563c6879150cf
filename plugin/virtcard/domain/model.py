"""What virtcard reads from a domain XML, and which smart card device is ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

from lxml import etree

from virtcard.domain import xmlfile
from virtcard.errors import InvalidXml

QEMU_NAMESPACE: Final = "http://libvirt.org/schemas/domain/qemu/1.0"

_SOCKET_NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.sock", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CcidAddress:
    """Where a card sits. libvirt takes controller 0, slot 0 only (qemu_validate.c, one card for a domain)."""

    controller: int
    slot: int


@dataclass(frozen=True, slots=True)
class Smartcard:
    """One `<smartcard>`: `mode` and `type` in libvirt's words, `bind` for a socket on which QEMU listens."""

    mode: str
    type: str = ""
    bind: bool = False
    path: str = ""
    address: CcidAddress | None = None
    alias: str = ""

    @property
    def owner(self) -> UUID | None:
        """The domain whose virtcard socket this is, or None when the device is not ours."""
        if self.mode != "passthrough" or self.type != "unix" or not self.bind:
            return None
        return socket_owner(self.path)

    @property
    def word(self) -> str:
        """What it is, in a word: "spicevmc", "unix", "host", "host-certificates"."""
        return self.type if self.mode == "passthrough" and self.type else self.mode


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

    @property
    def reader(self) -> Smartcard | None:
        """Our virtual reader of this very domain, or None."""
        return next((card for card in self.smartcards if self.owns(card)), None)

    @property
    def foreign(self) -> Smartcard | None:
        """The first smart card device that is not ours, or None."""
        return next((card for card in self.smartcards if card.owner is None), None)

    def owns(self, card: Smartcard) -> bool:
        """The card's socket carries this domain's UUID (a clone's carries the original's)."""
        return card.owner is not None and card.owner == self.uuid


def parse_domain(xml: str) -> DomainModel:
    """Read a domain XML; InvalidXml when it is none."""
    return read_model(xmlfile.parse(xml))


def socket_owner(path: str) -> UUID | None:
    """The UUID in a virtcard socket path, `.../virtcard/vm/UUID.sock` or `.../virtcard/UUID.sock`, or None."""
    place = PurePosixPath(path)
    named = _SOCKET_NAME.fullmatch(place.name)
    if named is None or not place.is_absolute() or not _is_socket_directory(place.parent):
        return None
    return UUID(named.group(1))


def _is_socket_directory(directory: PurePosixPath) -> bool:
    return directory.name == "virtcard" or (directory.name == "vm" and directory.parent.name == "virtcard")


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
        smartcards=tuple(_smartcard(element) for element in smartcard_elements(root)),
        usb_controllers=tuple(_usb(element) for element in _controllers(root, "usb")),
        ccid_controllers=tuple(_ccid(element) for element in ccid_elements(root)),
        usb_ports=tuple(_usb_ports(root, "*")),
        usb_hubs=tuple(_usb_ports(root, "hub")),
        spice=any(element.get("type") == "spice" for element in root.iterfind("./devices/graphics")),
        qemu_commandline=root.find(f"./{{{QEMU_NAMESPACE}}}commandline") is not None,
    )


def smartcard_elements(root: etree._Element) -> list[etree._Element]:
    """The `<smartcard>` elements, in the order of `DomainModel.smartcards`."""
    return list(root.iterfind("./devices/smartcard"))


def ccid_elements(root: etree._Element) -> list[etree._Element]:
    """The `<controller type='ccid'>` elements, in the order of `DomainModel.ccid_controllers`."""
    return list(_controllers(root, "ccid"))


def read_smartcard(element: etree._Element) -> Smartcard:
    """The record of one `<smartcard>` element."""
    return _smartcard(element)


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


def _smartcard(element: etree._Element) -> Smartcard:
    source = element.find("source")
    address = element.find("address")
    alias = element.find("alias")
    return Smartcard(
        mode=element.get("mode", ""),
        type=element.get("type", ""),
        bind=source is not None and source.get("mode") == "bind",
        path="" if source is None else source.get("path", ""),
        address=None if address is None else _ccid_address(address),
        alias="" if alias is None else alias.get("name", ""),
    )


def _ccid_address(element: etree._Element) -> CcidAddress:
    return CcidAddress(_number(element.get("controller")), _number(element.get("slot")))


def _usb(element: etree._Element) -> UsbController:
    return UsbController(_number(element.get("index")), element.get("model", ""), _number(element.get("ports")))


def _usb_ports(root: etree._Element, device: str) -> Iterator[UsbPort]:
    for address in root.iterfind(f"./devices/{device}/address"):
        if address.get("type") == "usb":
            yield UsbPort(_number(address.get("bus")), address.get("port", ""))


def _ccid(element: etree._Element) -> CcidController:
    address = element.find("address")
    on_usb = address is not None and address.get("type") == "usb"
    bus = _number(address.get("bus")) if address is not None and on_usb else None
    return CcidController(_number(element.get("index")), bus)


def _number(untrusted_text: str | None) -> int:
    """A small number; 0, libvirt's own default for each of them, when it is missing or none."""
    return int(untrusted_text) if untrusted_text and _NUMBER.fullmatch(untrusted_text) else 0
