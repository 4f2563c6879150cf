"""Enable and disable as a change of the domain XML: XML in, XML out, and the rest of it untouched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from lxml import etree

from virtcard.domain.existing import OnExisting, existing_findings, on_existing_of
from virtcard.domain.finding import Finding
from virtcard.domain.model import (
    DomainModel,
    Smartcard,
    ccid_elements,
    read_model,
    smartcard_elements,
    socket_owner,
)
from virtcard.domain.place import add_to_head, nest, remove
from virtcard.domain.remember import put_saved
from virtcard.domain.render import Devices, Renderer
from virtcard.domain.saved import Saved, read_saved, saved_element
from virtcard.domain.setup import BRIDGE, Mode, ReaderSetup
from virtcard.domain.xmlfile import Document, parse, verbatim
from virtcard.errors import InvalidArgument
from virtcard.names import socket_name


@dataclass(frozen=True, slots=True)
class Plan:
    """What the XML shall become. Without a change `xml` is the text that was given, to the byte."""

    xml: str
    changed: bool
    findings: tuple[Finding, ...] = ()


def plan_enable(
    xml: str,
    socket_path: str,
    *,
    on_existing: OnExisting | str = OnExisting.KEEP,
    renderer: Renderer,
    setup: ReaderSetup = BRIDGE,
) -> Plan:
    """Give the domain the virtual reader of `setup`; nothing changes when it has it already.

    `socket_path` is that of a bridge. Findings say when another smart card device was kept (warning) or forbids it
    (error). InvalidXml, Failed for a broken template, InvalidArgument for a path by which disable would not know the
    reader as this domain's.
    """
    document = Document(xml)
    model = read_model(document.root)
    _check_path(socket_path, model)
    findings = existing_findings(model, on_existing_of(on_existing))
    if findings or any(is_right(model, card, setup.device(socket_path)) for card in model.smartcards):
        return Plan(xml, changed=False, findings=findings)
    devices = renderer.devices(socket_path, setup)
    saved = _put_reader(document, model, devices)
    put_saved(document, replace(saved, put="" if setup.mode is Mode.BRIDGE else devices.smartcard), renderer)
    return _changed(document)


def plan_disable(xml: str) -> Plan:
    """Take our virtual reader away, and put back what it replaced, at the same place. Also a clone's."""
    document = Document(xml)
    model = read_model(document.root)
    memory = saved_element(document.root)
    saved = read_saved(document, memory)
    pairs = zip(smartcard_elements(document.root), model.smartcards, strict=True)
    ours = [element for element, card in pairs if model.is_ours(card)]
    if ours:
        _take_reader(document, ours, saved, model)
    if memory is not None:
        remove(document, [memory], created="metadata" in saved.absent)
    return _changed(document) if document.changed else Plan(xml, changed=False)


def inject(
    xml: str,
    socket_dir: str,
    *,
    on_existing: OnExisting | str = OnExisting.KEEP,
    renderer: Renderer,
    setup: ReaderSetup = BRIDGE,
    new_uuid: Callable[[], UUID] = uuid4,
) -> Plan:
    """`plan_enable` for a domain that is not defined yet; one without a UUID gets one, since the socket needs it."""
    model = read_model(parse(xml))
    uuid = model.uuid or new_uuid()
    named = xml if model.uuid is not None else _with_uuid(xml, uuid)
    path = f"{socket_dir.rstrip('/')}/{socket_name(uuid)}"
    plan = plan_enable(named, path, on_existing=on_existing, renderer=renderer, setup=setup)
    return plan if plan.changed else Plan(xml, changed=False, findings=plan.findings)


def is_right(model: DomainModel, card: Smartcard, wanted: Smartcard) -> bool:
    """The domain's device is ours and what it shall be, as libvirt takes it."""
    return model.is_ours(card) and card.device == wanted and card.placed_well


def _check_path(socket_path: str, model: DomainModel) -> None:
    owner = socket_owner(socket_path)
    if owner is None or model.uuid not in (None, owner):
        raise InvalidArgument(
            f"{socket_path} is not a virtcard socket path of this domain.",
            hint="It must be UUID.sock in a directory called virtcard or virtcard/vm.",
        )


def _put_reader(document: Document, model: DomainModel, devices: Devices) -> Saved:
    """Edit the devices; what must be remembered: what the memory says already when it was our own that is rewritten."""
    before = _controller_0(document.root, model)
    if not model.smartcards:
        return _append(document, devices, before)
    (card,) = smartcard_elements(document.root)
    document.replace(card, devices.smartcard)
    if before is None:
        document.insert_after(card, devices.controller)
    if model.is_ours(model.smartcards[0]):
        older = read_saved(document, saved_element(document.root))
        return replace(older, absent=older.absent - {"metadata"})
    return Saved(document.source(card), _source(document, before))


def _append(document: Document, devices: Devices, before: etree._Element | None) -> Saved:
    pieces = [devices.smartcard] if before is not None else [devices.controller, devices.smartcard]
    parent = document.root.find("./devices")
    if parent is not None:
        document.append(parent, *pieces)
        return Saved(controller=_source(document, before))
    document.append(document.root, nest("<devices>", pieces, "</devices>"))
    return Saved(absent=frozenset({"devices"}))


def _take_reader(document: Document, ours: list[etree._Element], saved: Saved, model: DomainModel) -> None:
    """Edit the devices: ours out, the remembered one in. With a foreign device beside ours its controller stays."""
    controller = _controller_0(document.root, model)
    gone = list(ours)
    if model.foreign is None and saved.smartcard:
        document.replace(gone.pop(0), verbatim(saved.smartcard))
    if model.foreign is None and controller is not None and not saved.controller:
        gone.append(controller)
    if controller is None and saved.controller:
        document.insert_after(ours[0], verbatim(saved.controller))
    remove(document, gone, created="devices" in saved.absent)


def _controller_0(root: etree._Element, model: DomainModel) -> etree._Element | None:
    """The CCID controller that a card in slot 0 of controller 0 sits on."""
    pairs = zip(ccid_elements(root), model.ccid_controllers, strict=True)
    return next((element for element, controller in pairs if controller.index == 0), None)


def _source(document: Document, element: etree._Element | None) -> str:
    return "" if element is None else document.source(element)


def _with_uuid(xml: str, uuid: UUID) -> str:
    document = Document(xml)
    element = f"<uuid>{uuid}</uuid>"
    empty = document.root.find("./uuid")
    if empty is not None:
        document.replace(empty, element)
    else:
        add_to_head(document, element)
    return document.result()


def _changed(document: Document) -> Plan:
    text = document.result()
    read_model(parse(text))
    return Plan(text, changed=True)
