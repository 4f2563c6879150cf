"""Domain XML: only errors of the tree come out, and disable takes back what enable did."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Final
from uuid import UUID

from lxml import etree

from fuzz.choices import Choices
from helpers.domain_vectors import SOCKET_DIR
from virtcard.domain.model import DomainModel, parse_domain
from virtcard.domain.plan import Plan, inject, plan_disable, plan_enable
from virtcard.domain.render import Renderer
from virtcard.errors import VirtcardError
from virtcard.names import SAVED_NAMESPACE

ONE: Final = UUID("3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03")


@cache
def renderer() -> Renderer:
    """Made once: it reads the templates."""
    return Renderer(None)


OURS: Final = (
    f"<smartcard mode='passthrough' type='unix'><source mode='bind' path='{SOCKET_DIR}/{ONE}.sock'/></smartcard>"
)
PIECES: Final = (
    *("", " ", "\n", "\n  ", "\r\n    ", "\t", "<!-- c -->", "<?p i?>", "<![CDATA[</devices>]]>", "&lt;", "text"),
    *("<q:z/>", "<f:x xmlns:f='urn:f' f:a='&gt;'><f:y/></f:x>", "<input type='tablet'/>", "<a xmlns='urn:a'>t</a >"),
    *("<smartcard mode='passthrough' type='spicevmc'/>", "<smartcard mode='host'></smartcard >", OURS),
    '<smartcard mode="passthrough"\n type="tcp">\n\n<source host="::1"/>\n <!-- c --> </smartcard>',
    "<smartcard mode='host'><q:z/></smartcard>",
    *("<controller type='ccid' index='0'/>", '<controller index="2" type="ccid"></controller>'),
    "<controller type='ccid'>\n<address type='usb' bus='0' port='1'/>\n</controller>",
    *("<metadata/>", "<metadata>\n</metadata>", "<metadata><x:a xmlns:x='urn:x'/></metadata>", "<devices />"),
)


def check(data: bytes) -> None:
    """`data` as the XML of a domain; behind a byte 0, as a choice of pieces of one."""
    xml = _of_pieces(Choices(data[1:])) if data[:1] == b"\0" else data.decode(errors="surrogateescape")
    _check_inject(xml)
    try:
        model = parse_domain(xml)
        plan_disable(xml)
    except VirtcardError:
        return
    for on_existing in ("keep", "fail", "replace"):
        plan = _enabled(xml, model, on_existing)
        if plan is not None and plan.changed:
            _check_enabled(xml, model, plan)


def _of_pieces(choices: Choices) -> str:
    """Before the devices, in them, and behind them."""
    parts = [[choices.one_of(PIECES) for _ in range(choices.number() % 8)] for _ in range(3)]
    before, inside, behind = ("".join(part) for part in parts)
    devices = choices.one_of(["<devices>{}</devices>", "<devices >{}</devices\n>", "<!--{}-->", "{}"]).format(inside)
    return f"<domain xmlns:q='urn:q' type='kvm'><uuid>{ONE}</uuid>{before}{devices}{behind}</domain>"


def _enabled(xml: str, model: DomainModel, on_existing: str) -> Plan | None:
    path = f"{SOCKET_DIR}/{model.uuid or ONE}.sock"
    try:
        return plan_enable(xml, path, on_existing=on_existing, renderer=renderer())
    except VirtcardError:
        return None


def _check_enabled(xml: str, model: DomainModel, plan: Plan) -> None:
    assert parse_domain(plan.xml).smartcards
    again = _enabled(plan.xml, model, "keep")
    assert again is not None
    assert not again.changed
    taken = plan_disable(plan.xml)
    assert taken.changed
    if SAVED_NAMESPACE not in xml and not any(model.is_ours(card) for card in model.smartcards):
        assert taken.xml == xml or _canonical(taken.xml) == _canonical(xml)


def _check_inject(xml: str) -> None:
    try:
        plan = inject(xml, SOCKET_DIR, on_existing="replace", renderer=renderer(), new_uuid=lambda: ONE)
    except VirtcardError:
        return
    assert plan.changed or plan.xml == xml


def _canonical(xml: str) -> bytes:
    """C14N 2.0, which does not mind relative names of namespaces."""
    tree = etree.parse(BytesIO(xml.encode()), etree.XMLParser(encoding="utf-8", strip_cdata=False))
    return etree.tostring(tree, method="c14n2", with_comments=True)
