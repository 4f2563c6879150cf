"""Changes of a domain's configuration: planned, checked, defined, and read back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from virtcard import names
from virtcard.domain.budget import RedefineBudget
from virtcard.domain.diff import diff
from virtcard.domain.existing import OnExisting
from virtcard.domain.finding import Finding, Severity
from virtcard.domain.host import HostFiles, QemuHost, look
from virtcard.domain.metadata import tags_of, wish_element
from virtcard.domain.model import DomainModel, parse_domain
from virtcard.domain.plan import Plan, plan_disable, plan_enable
from virtcard.domain.preflight import HostFacts, check, setup_findings
from virtcard.domain.record import DomainRecord
from virtcard.domain.render import Renderer
from virtcard.domain.setup import BRIDGE, ReaderSetup, setup_of
from virtcard.domain.smartcard import number
from virtcard.errors import Conflict, DomainStateError, PreflightFailed, TimedOut
from virtcard.service.link import Link
from virtcard.service.threads import start
from virtcard.service.views import Change

LOOK_PATIENCE = 20.0
"""Seconds for a look at the host's files: three certificates take a quarter of a second."""

Planner = Callable[[DomainRecord], Plan]


@dataclass(slots=True)
class Changes:
    """Everything that redefines a domain goes through here, so that it happens the same careful way."""

    link: Link
    renderer: Renderer
    socket_dir: Path
    budget: RedefineBudget
    users: dict[str, dict[UUID, str]]
    """By VSCard socket path, or TCP port as text: the domains that use it, with their names."""
    owned: dict[UUID, tuple[str, ...]]
    """By domain: its socket paths and ports."""
    passthru_supported: bool | None = None
    emulated_supported: bool | None = None
    spice_supported: bool | None = None
    qemu: QemuHost = field(default_factory=QemuHost)
    looks: dict[ReaderSetup, Future[HostFiles]] = field(default_factory=dict)
    """At the host's files, as long as they go on."""

    @classmethod
    def make(cls, link: Link, renderer: Renderer, socket_dir: Path) -> Changes:
        """With a fresh budget."""
        return cls(link, renderer, socket_dir, RedefineBudget(time.monotonic), {}, {})

    def socket_path(self, uuid: UUID) -> str:
        """Where the VSCard socket of a domain belongs."""
        return str(self.socket_dir / names.socket_name(uuid))

    def note_paths(self, record: DomainRecord) -> None:
        """Remember which socket paths a domain uses."""
        self.forget(record.uuid)
        model = parse_domain(record.inactive_xml)
        self.owned[record.uuid] = (*(card.path for card in model.smartcards if card.path), *_ports(model))
        for path in self.owned[record.uuid]:
            self.users.setdefault(path, {})[record.uuid] = record.name

    def gone(self, uuid: UUID) -> None:
        """The domain does not exist any more."""
        self.forget(uuid)
        self.budget.forget(uuid)

    def forget(self, uuid: UUID) -> None:
        """The domain uses no socket path any more."""
        for path in self.owned.pop(uuid, ()):
            users = self.users[path]
            del users[uuid]
            if not users:
                del self.users[path]

    async def read(self, uuid: UUID) -> DomainRecord:
        """The domain as it is now; NoSuchDomain."""
        return await self.link.call(lambda hypervisor: hypervisor.record(uuid))

    async def check(self, record: DomainRecord) -> tuple[Finding, ...]:
        """Preflight of a domain as it is, with the reader that it has, or else a bridge's."""
        model = parse_domain(record.inactive_xml)
        setup = BRIDGE if model.reader is None else setup_of(model.reader)
        return check(model, await self._host(record, setup), setup=setup)

    def plan_enable(self, record: DomainRecord, on_existing: OnExisting, setup: ReaderSetup) -> Plan:
        """The configuration with our reader in it."""
        path = self.socket_path(record.uuid)
        return plan_enable(record.inactive_xml, path, on_existing=on_existing, renderer=self.renderer, setup=setup)

    async def enable(
        self, record: DomainRecord, on_existing: OnExisting, *, setup: ReaderSetup = BRIDGE, dry_run: bool = False
    ) -> Change:
        """Give the domain a reader. PreflightFailed, with nothing changed, when it could not start any more."""
        _refuse_errors(setup_findings(setup))
        model = parse_domain(record.inactive_xml)
        findings = check(model, await self._host(record, setup), on_existing=on_existing, setup=setup)
        _refuse_errors(findings)
        return await self._apply(
            record, lambda fresh: self.plan_enable(fresh, on_existing, setup), findings, dry_run=dry_run
        )

    async def disable(self, record: DomainRecord, *, dry_run: bool = False) -> Change:
        """Take the reader away and put back what it replaced."""
        require_persistent(record)
        return await self._apply(record, lambda fresh: plan_disable(fresh.inactive_xml), (), dry_run=dry_run)

    async def set_wish(self, record: DomainRecord, source: str) -> None:
        """Write, or with "" remove, the wish in the configuration, and in the running machine's metadata."""
        require_persistent(record)
        if not source and not any(
            names.WISH_NAMESPACE in (xml or "") for xml in (record.inactive_xml, record.live_xml)
        ):
            return
        tags = tags_of(record.inactive_xml)
        xml = wish_element(source, tags=tags) if source or tags else None
        await self.link.call(
            lambda hypervisor: hypervisor.set_metadata(
                record.uuid,
                xml,
                uri=names.WISH_NAMESPACE,
                key=names.METADATA_KEY,
                live=record.running,
                config=True,
            )
        )

    async def _apply(
        self, record: DomainRecord, planner: Planner, findings: tuple[Finding, ...], *, dry_run: bool
    ) -> Change:
        plan = planner(record)
        findings += tuple(finding for finding in plan.findings if finding not in findings)
        _refuse_errors(findings)
        if plan.changed and not dry_run:
            plan = await self._define(record, planner)
        text = diff(record.inactive_xml, plan.xml, record.name)
        return Change(plan.changed, text, plan.changed and (record.running or record.managed_save), findings)

    async def _define(self, record: DomainRecord, planner: Planner) -> Plan:
        """libvirt has no compare-and-swap: read just before, define, read again, and see that it stayed."""
        if not self.budget.spend(record.uuid):
            raise Conflict(
                f"The configuration of {record.name} was changed too often in a minute.",
                hint="Another program keeps undoing the change; stop it, and try again in a minute.",
            )
        fresh = await self.read(record.uuid)
        plan = planner(fresh)
        _refuse_errors(plan.findings)
        await self.link.call(lambda hypervisor: hypervisor.define(plan.xml))
        if planner(await self.read(record.uuid)).changed:
            raise Conflict(
                f"The change of {record.name} did not stay: another program redefined it at the same time.",
                hint="Try again.",
            )
        return plan

    async def _host(self, record: DomainRecord, setup: ReaderSetup) -> HostFacts:
        path = self.socket_path(record.uuid)
        files = await self._look(setup)
        return HostFacts(
            socket_path=path,
            socket_dir_exists=self.socket_dir.is_dir(),
            passthru_supported=self.passthru_supported,
            path_users=self._others(record, path),
            persistent=record.persistent,
            managed_save=record.managed_save,
            emulated_supported=self.emulated_supported,
            nss=files.nss,
            port_users=self._others(record, str(setup.port)),
            tls_missing=files.tls_missing,
            tls_unshown=files.tls_unshown,
            spice_supported=self.spice_supported,
            spice_subtypes=files.spice_subtypes,
        )

    async def _look(self, setup: ReaderSetup) -> HostFiles:
        """At the host's files, which a dead network file system may hold up. Who asks meanwhile waits for the same
        look, since everybody may ask: no call costs another thread that hangs."""
        running = self.looks.get(setup)
        if running is None or running.done():
            running = self.looks[setup] = start(look, setup, self.qemu)
        try:
            async with asyncio.timeout(LOOK_PATIENCE):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            raise TimedOut(
                "The files that QEMU needs cannot be looked at.", hint="Is a network file system away? Try again then."
            ) from None
        finally:
            if running.done() and self.looks.get(setup) is running:
                del self.looks[setup]

    def _others(self, record: DomainRecord, place: str) -> tuple[str, ...]:
        return tuple(name for uuid, name in self.users.get(place, {}).items() if uuid != record.uuid)


def _ports(model: DomainModel) -> set[str]:
    """TCP ports that the domain's QEMU listens on, its reader's among them."""
    readers = {number(card.service) for card in model.smartcards if card.bind and card.service}
    return {str(port) for port in readers | set(model.tcp_ports)}


def _refuse_errors(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise PreflightFailed(finding.message, hint=finding.hint)


def require_persistent(record: DomainRecord) -> None:
    """DomainStateError for a domain that has no configuration."""
    if not record.persistent:
        raise DomainStateError(
            f"{record.name} is transient: it has no configuration to change.",
            hint="Change the XML that it is created from with virtcard inject-xml.",
        )
