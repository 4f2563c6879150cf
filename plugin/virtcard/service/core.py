"""The service: calls and events in, reconciled domains out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle
from virtcard.domain.existing import OnExisting
from virtcard.domain.finding import Finding
from virtcard.domain.metadata import check_source
from virtcard.domain.record import DomainRecord
from virtcard.errors import InvalidArgument, NoSuchCard, NoSuchDomain, VirtcardError
from virtcard.limits import RECONCILE_PERIOD
from virtcard.names import WISH_NAMESPACE
from virtcard.service.api import EnableOptions
from virtcard.service.bridges import Key
from virtcard.service.link import Link
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler, require_insertable
from virtcard.service.registry import Registry
from virtcard.service.sources import Sources
from virtcard.service.turns import Turns
from virtcard.service.views import Change, StatusView

log = logging.getLogger(__name__)

SETTLE = 0.3
"""Seconds after a redefine by somebody else before we look: tools redefine in bursts."""

COUNTER_PERIOD = 1.0
"""Seconds between looks at the APDU counters."""

TAKE_NOTICE = 10.0
"""Seconds in which a guest's reader takes a card in or lets it go: the ceremony and the gap take at most 3."""


class VirtcardService:
    """Implements `service.api.Service`. Lives on one event loop."""

    def __init__(
        self,
        registry: Registry,
        status: StatusView,
        *,
        link: Link,
        sources: Sources,
        readers: Readers,
        reconciler: Reconciler,
    ) -> None:
        self.registry = registry
        self._status = status
        self._link = link
        self._sources = sources
        self._readers = readers
        self._reconciler = reconciler
        self._turns = Turns(self._pass)
        self._status_listeners: list[Callable[[StatusView], None]] = []

    def status(self) -> StatusView:
        """How the daemon stands."""
        return self._status

    def listen_status(self, listener: Callable[[StatusView], None]) -> None:
        """Call `listener` whenever `status()` changes."""
        self._status_listeners.append(listener)

    def set_status(self, *, libvirt: str | None = None, pcsc: str | None = None) -> None:
        """Take note of how libvirt or pcscd stands now."""
        status = replace(self._status, libvirt=libvirt or self._status.libvirt, pcsc=pcsc or self._status.pcsc)
        if status != self._status:
            self._status = status
            for listener in self._status_listeners:
                listener(status)

    async def find_domain(self, text: str) -> UUID:
        """The domain with this id, UUID or name, in virsh's order; one defined a moment ago too. NoSuchDomain."""
        found = self._named(text)
        if found is None:
            await self._take_in_unknown()
            found = self._named(text)
        if found is None:
            raise NoSuchDomain(f"No domain is called '{text}'.", hint="See 'virtcard list' for all domains.")
        return found

    def _named(self, text: str) -> UUID | None:
        views = self.registry.domains.values()
        for same in (
            lambda view: text.isdecimal() and view.id == int(text),
            lambda view: str(view.uuid) == text.lower(),
            lambda view: view.name == text,
        ):
            for view in views:
                if same(view):
                    return view.uuid
        return None

    async def _take_in_unknown(self) -> None:
        """Events come a little later than the domains they tell of."""
        for uuid in await self._link.call(lambda hypervisor: hypervisor.domain_uuids()):
            if self.registry.domains.get(uuid) is None:
                async with self._turns.turn(uuid):
                    await self._reconcile(uuid)

    async def enable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Give the domain a virtual reader in its configuration."""
        on_existing = _on_existing(options.on_existing)
        async with self._turns.turn(uuid):
            record = await self._record(uuid)
            change = await self._reconciler.changes.enable(record, on_existing, dry_run=options.dry_run)
            await self._after(uuid, change)
            return change

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Take the virtual reader away, with its card and the wish, and put back what it replaced."""
        async with self._turns.turn(uuid):
            record = await self._record(uuid)
            change = await self._reconciler.changes.disable(record, dry_run=options.dry_run)
            if not options.dry_run:
                await self._reconciler.changes.set_wish(record, "")
                self._reconciler.insertions.drop(uuid)
                await self._reconcile(uuid)
            return change

    async def insert(self, uuid: UUID, source: str, *, config: bool) -> Key | None:
        """Put a card in the reader. None when the domain is off and only the wish was written."""
        source = check_source(source) if source else self._only_source()
        self._sources.check(source)
        async with self._turns.turn(uuid):
            record = await self._record(uuid)
            if config and not record.running:
                await self._reconciler.changes.set_wish(record, source)
                await self._reconcile(uuid)
                return None
            require_insertable(record)
            await self._reconciler.reconcile(record)
            before = self._reconciler.insertions.get(uuid)
            await self._reconciler.bridges.set_card((uuid, 0), source)
            self._reconciler.insertions.put(uuid, source)
            await self._reconcile(uuid)
        await self._settle_insert(uuid, source, before)
        if config:
            async with self._turns.turn(uuid):
                await self._reconciler.changes.set_wish(await self._record(uuid), source)
        return (uuid, 0)

    async def eject(self, uuid: UUID, *, config: bool) -> None:
        """Take the card out; it stays out until an insert, or until the domain starts anew with a wish."""
        async with self._turns.turn(uuid):
            record = await self._record(uuid)
            if config:
                await self._reconciler.changes.set_wish(record, "")
            if record.running:
                self._reconciler.insertions.put(uuid, "")
            else:
                self._reconciler.insertions.drop(uuid)
            await self._reconcile(uuid)
        await self._reconciler.bridges.until_empty((uuid, 0), TAKE_NOTICE)

    async def check(self, uuid: UUID) -> tuple[Finding, ...]:
        """Preflight: what would keep this domain from starting with a reader."""
        return self._reconciler.changes.check(await self._record(uuid))

    def on_event(self, event: HypervisorEvent) -> None:
        """Something happened to a domain."""
        if event.uuid is None or (event.kind is EventKind.METADATA and event.namespace != WISH_NAMESPACE):
            return
        known = self.registry.domains.get(event.uuid) is not None
        burst = known and event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.DEFINED
        self._turns.wake(event.uuid, SETTLE if burst else 0.0)

    def on_readers(self) -> None:
        """Readers or cards came or went: domains that could not get theirs may now."""
        for view in self.registry.domains.values():
            if view.live and view.last_error:
                self._turns.wake(view.uuid)

    async def full_pass(self) -> None:
        """Everything: after libvirt came back, and slowly again and again, since some changes send no event."""
        records = await self._link.call(lambda hypervisor: hypervisor.records())
        for uuid in {uuid for uuid, _ in self.registry.domains.items()} - {record.uuid for record in records}:
            self._turns.wake(uuid)
        for record in records:
            async with self._turns.turn(record.uuid):
                await self._quietly(record)

    async def run(self) -> None:
        """The slow passes and the counters, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._slow_passes())
            tasks.create_task(self._counters())

    async def close(self) -> None:
        """Every card out, in order; nothing is forgotten, so that the next start puts them in again."""
        self._turns.cancel()
        await self._reconciler.bridges.close()

    async def _slow_passes(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_PERIOD)
            try:
                await self.full_pass()
            except VirtcardError as error:
                log.info("no full pass: %s", error.message)

    async def _counters(self) -> None:
        while True:
            await asyncio.sleep(COUNTER_PERIOD)
            self._reconciler.bridges.refresh_counters()

    async def _settle_insert(self, uuid: UUID, source: str, before: str | None) -> None:
        """Wait until the card is in; when it cannot get in, leave things as they were before the call."""
        try:
            await self._reconciler.bridges.until_inserted((uuid, 0), TAKE_NOTICE)
        except VirtcardError:
            async with self._turns.turn(uuid):
                if self._reconciler.insertions.get(uuid) == source:
                    self._put_back(uuid, before)
                    await self._reconcile(uuid)
            raise

    def _put_back(self, uuid: UUID, before: str | None) -> None:
        if before is None:
            self._reconciler.insertions.drop(uuid)
        else:
            self._reconciler.insertions.put(uuid, before)

    def _only_source(self) -> str:
        readers = self._readers.with_card()
        if len(readers) == 1:
            return f"reader:{readers[0].name}"
        if not readers:
            raise NoSuchCard("No host reader holds a card.", hint="Put one in, or name the source to insert.")
        names = ", ".join(f"reader:{view.name}" for view in readers)
        raise InvalidArgument("More than one card fits.", hint=f"Name one of {names}.")

    async def _after(self, uuid: UUID, change: Change) -> None:
        if change.changed:
            await self._reconcile(uuid)

    async def _record(self, uuid: UUID) -> DomainRecord:
        return await self._link.call(lambda hypervisor: hypervisor.record(uuid))

    async def _pass(self, uuid: UUID) -> None:
        await self._reconcile(uuid)

    async def _reconcile(self, uuid: UUID) -> None:
        try:
            record = await self._record(uuid)
        except NoSuchDomain:
            await self._reconciler.gone(uuid)
            return
        await self._reconciler.reconcile(record)
        self._readers.use(self._reconciler.bridges.readers())

    async def _quietly(self, record: DomainRecord) -> None:
        """A domain that cannot be reconciled does not keep the others from it."""
        try:
            await self._reconciler.reconcile(record)
        except VirtcardError as error:
            log.warning("domain %s: %s", record.name, error.message)


def _on_existing(text: str) -> OnExisting:
    try:
        return OnExisting(text)
    except ValueError:
        raise InvalidArgument(
            f"'{text[:32]}' is no way to treat an existing smart card.", hint="Use keep, replace or fail."
        ) from None
