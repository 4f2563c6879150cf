"""One `<smartcard>` of a domain XML, and whose it is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final
from uuid import UUID

from lxml import etree

_SOCKET_NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.sock", re.IGNORECASE)
_PATHS_KEPT: Final = 4096
"""Socket paths whose owner is remembered: a pass asks for each of them thirty times."""
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
    host: str = ""
    service: str = ""
    """The TCP port, as it is written."""
    protocol: str = ""
    """What TCP carries, "" for raw bytes."""
    tls: bool = False
    reconnect: bool = False
    certificates: tuple[str, ...] = ()
    database: str = ""

    @property
    def owner(self) -> UUID | None:
        """The domain whose virtcard socket this is, or None for another device."""
        if self.mode != "passthrough" or self.type != "unix" or not self.bind:
            return None
        return socket_owner(self.path)

    @property
    def word(self) -> str:
        """What it is, in a word: "spicevmc", "unix", "host", "host-certificates"."""
        return self.type if self.mode == "passthrough" and self.type else self.mode

    @property
    def device(self) -> Smartcard:
        """What it is without where it sits: equal for the same device as we wrote it and as libvirt gives it back."""
        kind = self.type if self.mode == "passthrough" else ""
        return replace(self, type=kind, address=None, alias="")

    @property
    def placed_well(self) -> bool:
        """libvirt takes it as it is: with no address or 0/0, and no alias, which its schema does not know."""
        return not self.alias and self.address in (None, CcidAddress(0, 0))


@lru_cache(_PATHS_KEPT)
def socket_owner(path: str) -> UUID | None:
    """The UUID in a virtcard socket path, `.../virtcard/vm/UUID.sock` or `.../virtcard/UUID.sock`, or None."""
    place = PurePosixPath(path)
    named = _SOCKET_NAME.fullmatch(place.name)
    if named is None or not place.is_absolute() or not _is_socket_directory(place.parent):
        return None
    return UUID(named.group(1))


def _is_socket_directory(directory: PurePosixPath) -> bool:
    return directory.name == "virtcard" or (directory.name == "vm" and directory.parent.name == "virtcard")


def read_smartcard(element: etree._Element) -> Smartcard:
    """The record of one `<smartcard>` element."""
    address, alias, protocol = (element.find(name) for name in ("address", "alias", "protocol"))
    source = element.find("source")
    values: dict[str, str] = {} if source is None else {str(key): str(value) for key, value in source.attrib.items()}
    reconnect = None if source is None else source.find("reconnect")
    kind = "raw" if protocol is None else protocol.get("type", "raw")
    return Smartcard(
        mode=element.get("mode", ""),
        type=element.get("type", ""),
        bind=values.get("mode") == "bind",
        path=values.get("path", ""),
        address=None if address is None else _ccid_address(address),
        alias="" if alias is None else alias.get("name", ""),
        host=values.get("host", ""),
        service=values.get("service", ""),
        protocol="" if kind == "raw" else kind,
        tls=values.get("tls") == "yes",
        reconnect=reconnect is not None and reconnect.get("enabled") == "yes",
        certificates=tuple(each.text or "" for each in element.iterfind("certificate")),
        database=element.findtext("database") or "",
    )


def _ccid_address(element: etree._Element) -> CcidAddress:
    return CcidAddress(number(element.get("controller")), number(element.get("slot")))


def number(untrusted_text: str | None) -> int:
    """A small number; 0, libvirt's own default for each of them, when it is missing or none."""
    return int(untrusted_text) if untrusted_text and _NUMBER.fullmatch(untrusted_text) else 0
