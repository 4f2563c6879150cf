"""The elements that virtcard puts into a domain, from the Jinja2 templates in `xml/` or an admin's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from jinja2 import (
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lxml import etree
from markupsafe import Markup

from virtcard.domain import saved as memory
from virtcard.domain.saved import Saved
from virtcard.domain.setup import BRIDGE, Mode, ReaderSetup
from virtcard.domain.smartcard import read_smartcard
from virtcard.domain.xmlfile import Document
from virtcard.errors import Failed, InvalidXml
from virtcard.names import SAVED_NAMESPACE

TEMPLATES: Final = Path("/etc/virtcard/templates")
"""Where an admin's templates lie; one that is missing there comes from the package."""

_FILES: Final = {
    Mode.BRIDGE: "devices.xml.j2",
    Mode.HOST: "host.xml.j2",
    Mode.HOST_CERTIFICATES: "host-certificates.xml.j2",
    Mode.TCP: "tcp.xml.j2",
    Mode.SPICE: "spice.xml.j2",
}
_HINT: Final = "Correct it, or remove it to use virtcard's own; nothing was changed."


@dataclass(frozen=True, slots=True)
class Devices:
    """The two elements of a virtual reader, as text."""

    controller: str
    smartcard: str


class Renderer:
    """Renders templates; a broken one raises Failed with its file and line."""

    def __init__(self, templates: Path | None = TEMPLATES) -> None:
        self._templates = templates
        own = PackageLoader("virtcard", "data/xml")
        loader = own if templates is None else ChoiceLoader([FileSystemLoader(templates), own])
        self._environment = ImmutableSandboxedEnvironment(loader=loader, undefined=StrictUndefined, autoescape=True)

    def devices(self, socket_path: str, setup: ReaderSetup = BRIDGE) -> Devices:
        """The CCID controller and the smart card; `socket_path` is that of a bridge."""
        name = _FILES[setup.mode]
        document = self._fragment(name, self._render(name, **_values(socket_path, setup)))
        devices = _devices(document)
        if devices is None:
            raise self._broken(name, "gives something else than one <controller type='ccid'> and one <smartcard>")
        if not _is_reader(document.root.find("smartcard"), socket_path, setup):
            said = "on the socket path" if setup.mode is Mode.BRIDGE else "the device"
            raise self._broken(name, f"gives a <smartcard> that is not {said} it was told")
        return devices

    def wish(self, card: str, tags: str = "") -> str:
        """The element of the wish for `card`, without a namespace: virDomainSetMetadata adds it."""
        name = "wish.xml.j2"
        text = self._render(name, card=card, tags=tags)
        element = self._fragment(name, text).root.find("vm")
        if element is None or (element.get("card", ""), element.get("tags", "")) != (card, tags):
            raise self._broken(name, "gives something else than <vm card='...' tags='...'/>")
        return text

    def saved(self, what: Saved) -> str:
        """The metadata element that remembers `what`."""
        name = "saved.xml.j2"
        text = self._render(
            name,
            namespace=SAVED_NAMESPACE,
            smartcard=Markup(what.smartcard),  # noqa: S704 (elements of the domain itself, not text)
            controller=Markup(what.controller),  # noqa: S704
            put=Markup(what.put),  # noqa: S704
            absent=sorted(what.absent),
        )
        document = self._fragment(name, text)
        element = document.root.find(memory.TAG)
        if element is None or memory.read_saved(document, element) != what:
            raise self._broken(name, "gives an element that does not remember what it was told")
        return text

    def _render(self, name: str, **values: object) -> str:
        try:
            return self._load(name).render(values).strip()
        except TemplateSyntaxError as error:
            raise self._broken(name, f"is not a template: {error.message}", error.lineno) from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise self._broken(name, f"cannot be rendered: {error}", _line(error.__traceback__)) from None

    def _load(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except (OSError, UnicodeDecodeError) as error:
            where = "" if self._templates is None else f" in {self._templates}"
            raise Failed(f"The template {name}{where} cannot be read: {error}.", hint=_HINT) from None

    def _fragment(self, name: str, text: str) -> Document:
        try:
            return Document(f"<fragment>{text}</fragment>")
        except InvalidXml as error:
            raise self._broken(name, f"gives no XML: {error.message.rstrip('.')}") from None

    def _broken(self, name: str, what: str, line: int = 0) -> Failed:
        place = f"{self._file(name)}, line {line}," if line else self._file(name)
        return Failed(f"The template {place} {' '.join(what.split()).rstrip('.')}.", hint=_HINT)

    def _file(self, name: str) -> str:
        loader = self._environment.loader
        return name if loader is None else loader.get_source(self._environment, name)[1] or name


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


def _line(traceback: TracebackType | None) -> int:
    """The line of the template: Jinja2 puts frames with the template's own file and lines into the traceback."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.endswith(".j2"):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
