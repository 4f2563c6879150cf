"""Looks at domains: at one when something happened to it, and slowly at all, since some changes send no event."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from functools import partial
from uuid import UUID

from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.record import DomainRecord
from virtcard.errors import Failed, NoSuchDomain, VirtcardError
from virtcard.limits import PASS_LOOKS_MAX, PASS_PATIENCE
from virtcard.service.link import Link
from virtcard.service.meeting import Meeting
from virtcard.service.pace import give_back_memory, pause_after
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler
from virtcard.service.registry import Registry
from virtcard.service.threads import start
from virtcard.service.turns import Turns

log = logging.getLogger(__name__)

COUNTER_PERIOD = 1.0
"""Seconds between looks at the APDU counters."""


class Passes:
    """Belongs to the event loop's thread."""

    def __init__(
        self, registry: Registry, link: Link, readers: Readers, reconciler: Reconciler, meeting: Meeting
    ) -> None:
        self.turns = Turns(self.reconcile)
        self.came_in: set[UUID] = set()
        """Machines whose bridges must begin anew."""
        self._registry = registry
        self._link = link
        self._readers = readers
        self._reconciler = reconciler
        self._meeting = meeting
        self._passing = asyncio.Lock()
        self._began: float | None = None
        self._took = 0.0

    @property
    def live(self) -> bool:
        """No pass goes on without an end."""
        return self._began is None or time.monotonic() < self._began + PASS_PATIENCE

    async def full_pass(self) -> None:
        """Everything: after libvirt came back, and slowly again and again."""
        async with self._passing:
            self._began = time.monotonic()
            try:
                await self._pass()
                with suppress(Failed):  # no thread is left: after the next pass then
                    await asyncio.wrap_future(start(give_back_memory))
            finally:
                self._took = time.monotonic() - self._began
                self._began = None

    async def look_for_unknown(self) -> None:
        """Domains that libvirt has, and we have not seen yet."""
        for uuid in await self._link.call(lambda hypervisor: hypervisor.domain_uuids()):
            if self._registry.domains.get(uuid) is None:
                await self.look(uuid, None)

    async def look(self, uuid: UUID, record: DomainRecord | None) -> None:
        """A domain that cannot be reconciled does not keep the others from it. `record` may have been read before."""
        fresh = record is not None and not self.turns.touched(uuid)
        try:
            async with self.turns.turn(uuid):
                if record is not None and fresh:
                    await self._reconcile_record(record)
                else:
                    await self.reconcile(uuid)
        except VirtcardError as error:
            log.warning("domain %s: %s", uuid, error.message)
        except Exception:
            log.exception("domain %s: reconcile failed", uuid)

    async def reconcile(self, uuid: UUID) -> None:
        """Read a domain anew and reconcile it; its turn is held."""
        if uuid in self.came_in:
            self.came_in.discard(uuid)
            self._reconciler.came_in.add(uuid)
            await self._reconciler.bridges.end_all(uuid)
        try:
            await self._reconcile_record(await self._reconciler.changes.read(uuid))
        except NoSuchDomain:
            await self._reconciler.gone(uuid)
            self._meeting.gone(uuid)
        self._readers.use(self._reconciler.bridges.readers())

    async def run(self) -> None:
        """The slow passes, the counters, and whom QEMU is asked for after a pass, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._slow_passes())
            tasks.create_task(self._counters())
            tasks.create_task(self._meeting.run(self._passing))

    async def _pass(self) -> None:
        self.turns.forget_touched()
        listing = await self._link.call(lambda hypervisor: hypervisor.listing())
        self._forget_all_but(listing.uuids)
        room = asyncio.Semaphore(PASS_LOOKS_MAX)
        async with asyncio.TaskGroup() as looks:
            for begin in range(0, len(listing.domains), PASS_LOOKS_MAX):
                part = partial(Hypervisor.read, listing=listing, begin=begin, count=PASS_LOOKS_MAX)
                for record in await self._link.call(part):
                    await room.acquire()
                    look = looks.create_task(self.look(record.uuid, record))
                    look.add_done_callback(lambda _: room.release())
                    await asyncio.sleep(0)
        self._readers.use(self._reconciler.bridges.readers())

    def _forget_all_but(self, existing: set[UUID]) -> None:
        for uuid in {uuid for uuid, _ in self._registry.domains.items()} - existing:
            self.turns.wake(uuid)
        self._reconciler.insertions.forget_all_but(existing)

    async def _slow_passes(self) -> None:
        while True:
            await asyncio.sleep(pause_after(self._took))
            try:
                await self.full_pass()
            except VirtcardError as error:
                log.info("no full pass: %s", error.message)
            except Exception:
                log.exception("a full pass failed")

    async def _counters(self) -> None:
        while True:
            await asyncio.sleep(COUNTER_PERIOD)
            self._reconciler.bridges.refresh_counters()

    async def _reconcile_record(self, record: DomainRecord) -> None:
        self._meeting.look(record, lambda: self._reconciler.request(record, ""))
        await self._reconciler.reconcile(record)
