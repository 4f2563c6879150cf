"""Domain XML: only errors of the tree come out, and disable takes back what enable did."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Final
from uuid import UUID

from lxml import etree

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


def check(data: bytes) -> None:
    """`data` as the XML of a domain."""
    xml = data.decode(errors="surrogateescape")
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
