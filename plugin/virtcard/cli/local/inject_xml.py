"""The filter `virtcard inject-xml`: domain XML in, the same with a virtual reader out, without a daemon or libvirt."""

from __future__ import annotations

from pathlib import Path

from virtcard.domain.finding import Finding
from virtcard.domain.model import parse_domain
from virtcard.domain.plan import Plan, inject
from virtcard.domain.preflight import HostFacts, check, errors, setup_findings
from virtcard.domain.render import TEMPLATES, Renderer
from virtcard.domain.setup import BRIDGE, ReaderSetup
from virtcard.errors import PreflightFailed


def inject_xml(text: str, *, socket_dir: str, on_existing: str) -> str:
    """The domain XML `text` with a virtual reader whose socket lies in `socket_dir`; see `plan_inject_xml`."""
    return plan_inject_xml(text, socket_dir=socket_dir, on_existing=on_existing).xml


def plan_inject_xml(
    text: str, *, socket_dir: str, on_existing: str, templates: Path | None = TEMPLATES, setup: ReaderSetup = BRIDGE
) -> Plan:
    """The same with its warnings in `findings`. PreflightFailed when the domain could not start with the reader.

    InvalidXml, InvalidArgument for a bad `on_existing`, Failed for a broken template.
    """
    _refuse(setup_findings(setup))
    plan = inject(text, socket_dir, on_existing=on_existing, renderer=Renderer(templates), setup=setup)
    model = parse_domain(plan.xml)
    path = model.reader.path if model.reader is not None else ""
    findings = (*plan.findings, *check(model, HostFacts(path), on_existing=on_existing, setup=setup))
    _refuse(findings)
    return Plan(plan.xml, plan.changed, tuple(dict.fromkeys(findings)))


def _refuse(findings: tuple[Finding, ...]) -> None:
    for error in errors(findings):
        raise PreflightFailed(error.message, hint=error.hint)
