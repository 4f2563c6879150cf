"""The elements that virtcard puts into a domain, from the Jinja2 templates in `xml/` or an admin's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lxml import etree

from virtcard.domain import saved as memory
from virtcard.domain.saved import Saved
from virtcard.domain.setup import BRIDGE, Mode, ReaderSetup
from virtcard.domain.smartcard import read_smartcard
from virtcard.domain.xmlfile import Document
from virtcard.errors import InvalidXml
from virtcard.names import SAVED_NAMESPACE

if TYPE_CHECKING:
    from virtcard.domain.templating import Templates

TEMPLATES: Final = Path("/etc/virtcard/templates")
"""Where an admin's templates lie; one that is missing there comes from the package."""

_FILES: Final = {
    Mode.BRIDGE: "devices.xml.j2",
    Mode.HOST: "host.xml.j2",
    Mode.HOST_CERTIFICATES: "host-certificates.xml.j2",
    Mode.TCP: "tcp.xml.j2",
    Mode.SPICE: "spice.xml.j2",
}


@dataclass(frozen=True, slots=True)
class Devices:
    """The two elements of a virtual reader, as text."""

    controller: str
    smartcard: str


class Renderer:
    """Renders templates; a broken one raises Failed with its file and line."""

    def __init__(self, templates: Path | None = TEMPLATES) -> None:
        self._folder = templates
        self._loaded: Templates | None = None

    @property
    def _templates(self) -> Templates:
        if self._loaded is None:
            from virtcard.domain.templating import Templates

            self._loaded = Templates(self._folder)
        return self._loaded

    def devices(self, socket_path: str, setup: ReaderSetup = BRIDGE) -> Devices:
        """The CCID controller and the smart card; `socket_path` is that of a bridge."""
        name = _FILES[setup.mode]
        document = self._fragment(name, self._templates.fill(name, **_values(socket_path, setup)))
        devices = _devices(document)
        if devices is None:
            raise self._templates.broken(
                name, "gives something else than one <controller type='ccid'> and one <smartcard>"
            )
        if not _is_reader(document.root.find("smartcard"), socket_path, setup):
            said = "on the socket path" if setup.mode is Mode.BRIDGE else "the device"
            raise self._templates.broken(name, f"gives a <smartcard> that is not {said} it was told")
        return devices

    def wish(self, card: str, tags: str = "") -> str:
        """The element of the wish for `card`, without a namespace: virDomainSetMetadata adds it."""
        name = "wish.xml.j2"
        text = self._templates.fill(name, card=card, tags=tags)
        element = self._fragment(name, text).root.find("vm")
        if element is None or (element.get("card", ""), element.get("tags", "")) != (card, tags):
            raise self._templates.broken(name, "gives something else than <vm card='...' tags='...'/>")
        return text

    def saved(self, what: Saved) -> str:
        """The metadata element that remembers `what`."""
        from virtcard.domain.templating import as_it_is

        name = "saved.xml.j2"
        text = self._templates.fill(
            name,
            namespace=SAVED_NAMESPACE,
            smartcard=as_it_is(what.smartcard),
            controller=as_it_is(what.controller),
            put=as_it_is(what.put),
            absent=sorted(what.absent),
        )
        document = self._fragment(name, text)
        element = document.root.find(memory.TAG)
        if element is None or memory.read_saved(document, element) != what:
            raise self._templates.broken(name, "gives an element that does not remember what it was told")
        return text

    def _fragment(self, name: str, text: str) -> Document:
        try:
            return Document(f"<fragment>{text}</fragment>")
        except InvalidXml as error:
            raise self._templates.broken(name, f"gives no XML: {error.message.rstrip('.')}") from None


def _devices(document: Document) -> Devices | None:
    elements = {element.tag: element for element in document.root.iterfind("*")}
    if set(elements) != {"controller", "smartcard"} or len(document.root.findall("*")) != 2:
        return None
    controller = elements["controller"]
    if controller.get("type") != "ccid" or controller.get("index", "0") != "0":
        return None
    return Devices(document.source(controller), document.source(elements["smartcard"]))


def _values(socket_path: str, setup: ReaderSetup) -> dict[str, object]:
    """What the template of a mode is told."""
    if setup.mode is Mode.BRIDGE:
        return {"socket_path": socket_path}
    if setup.mode is Mode.HOST_CERTIFICATES:
        return {"certificates": setup.certificates, "database": setup.database}
    if setup.mode is Mode.TCP:
        return {"role": setup.role.value, "address": setup.address, "port": setup.port, "tls": setup.tls}
    return {}


def _is_reader(element: etree._Element | None, socket_path: str, setup: ReaderSetup) -> bool:
    if element is None:
        return False
    card = read_smartcard(element)
    return card.device == setup.device(socket_path) and card.placed_well
