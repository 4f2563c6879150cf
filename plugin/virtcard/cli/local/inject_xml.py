"""The filter `virtcard inject-xml`: domain XML in, the same with a virtual reader out, without a daemon or libvirt."""

from __future__ import annotations

from pathlib import Path

from virtcard.domain.model import parse_domain
from virtcard.domain.plan import Plan, inject
from virtcard.domain.preflight import HostFacts, check, errors
from virtcard.domain.render import TEMPLATES, Renderer
from virtcard.errors import PreflightFailed


def inject_xml(text: str, *, socket_dir: str, on_existing: str) -> str:
    """The domain XML `text` with a virtual reader whose socket lies in `socket_dir`; see `plan_inject_xml`."""
    return plan_inject_xml(text, socket_dir=socket_dir, on_existing=on_existing).xml


def plan_inject_xml(text: str, *, socket_dir: str, on_existing: str, templates: Path | None = TEMPLATES) -> Plan:
    """The same with its warnings in `findings`. PreflightFailed when the domain could not start with the reader.

    InvalidXml, InvalidArgument for a bad `on_existing`, Failed for a broken template.
    """
    plan = inject(text, socket_dir, on_existing=on_existing, renderer=Renderer(templates))
    model = parse_domain(plan.xml)
    path = model.reader.path if model.reader is not None else ""
    findings = (*plan.findings, *check(model, HostFacts(path), on_existing=on_existing))
    for error in errors(findings):
        raise PreflightFailed(error.message, hint=error.hint)
    return Plan(plan.xml, plan.changed, tuple(dict.fromkeys(findings)))
