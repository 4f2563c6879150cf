"""The service: calls and events in, reconciled domains out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import UUID

from virtcard.card.sources import Sources
from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle, Stopped, came_in, ends_login
from virtcard.domain.existing import OnExisting
from virtcard.domain.finding import Finding
from virtcard.domain.hotplug import read_slots
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.record import DomainRecord
from virtcard.errors import InvalidArgument, NoSuchDomain, VirtcardError
from virtcard.limits import BRIDGE_PAUSE, PASS_LOOKS_MAX, PASS_PATIENCE
from virtcard.names import WISH_NAMESPACE
from virtcard.service.agents import Agents
from virtcard.service.api import Caller, CardCalls, EnableOptions, InsertOptions
from virtcard.service.bridges import Key
from virtcard.service.grants import Grants
from virtcard.service.healing import Healer
from virtcard.service.hotplug import warnings
from virtcard.service.inserter import Inserter
from virtcard.service.latecomers import Latecomers
from virtcard.service.link import Link
from virtcard.service.meeting import Meeting
from virtcard.service.naming import named
from virtcard.service.pace import give_back_memory, pause_after
from virtcard.service.permission import Denied, Wanted
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler
from virtcard.service.record import Recorder
from virtcard.service.registry import Registry
from virtcard.service.slots import chosen_slot
from virtcard.service.threads import start
from virtcard.service.tracing import Tracing
from virtcard.service.turns import Turns
from virtcard.service.viewers import Viewers
from virtcard.service.views import Change, StatusView

log = logging.getLogger(__name__)

SETTLE = 0.3
"""Seconds after a redefine by somebody else before we look: tools redefine in bursts."""

COUNTER_PERIOD = 1.0
"""Seconds between looks at the APDU counters."""


class VirtcardService:
    """Implements `service.api.Service`. Lives on one event loop."""

    def __init__(
        self,
        registry: Registry,
        status: StatusView,
        *,
        agents: Agents,
        grants: Grants,
        link: Link,
        sources: Sources,
        readers: Readers,
        reconciler: Reconciler,
        tracing: Tracing,
        record: Recorder,
        cards: CardCalls,
        viewers: Viewers,
    ) -> None:
        self.registry = registry
        self.tracing = tracing
        self.agents = agents
        self.grants = grants
        self.record = record
        self.cards = cards
        self.viewers = viewers
        self._status = status
        self._link = link
        self._readers = readers
        self._reconciler = reconciler
        self._turns = Turns(self._reconcile)
        self._meeting = Meeting(viewers, link, reconciler.permits)
        self._inserter = Inserter(self._turns, reconciler, self._reconcile, readers, sources)
        self.healer = Healer(
            registry, reconciler.bridges, link, reconciler.permits, self._turns, self._reconcile, record
        )
        self._came_in: set[UUID] = set()
        """Machines whose bridges must begin anew."""
        self._passing = asyncio.Lock()
        self._pass_began: float | None = None
        self._pass_took = 0.0
        self._latecomers = Latecomers(self._look_for_unknown)
        self._status_listeners: list[Callable[[StatusView], None]] = []

    def status(self) -> StatusView:
        """How the daemon stands."""
        return self._status

    def listen_status(self, listener: Callable[[StatusView], None]) -> None:
        """Call `listener` whenever `status()` changes."""
        self._status_listeners.append(listener)

    def set_status(self, **changed: str | tuple[int, ...]) -> None:
        """Take note of how libvirt, pcscd, the policy or its agents stand now; the names are those of the view."""
        status = replace(self._status, **changed)  # type: ignore[arg-type]
        if status != self._status:
            self._status = status
            for listener in self._status_listeners:
                listener(status)

    async def find_domain(self, text: str) -> UUID:
        """The domain with this id, UUID or name, in virsh's order; one defined a moment ago too. NoSuchDomain."""
        found = named(self.registry.domains.values(), text)
        if found is None:
            await self._latecomers.take_in()
            found = named(self.registry.domains.values(), text)
        if found is None:
            raise NoSuchDomain(f"No domain is called '{text}'.", hint="See 'virtcard list' for all domains.")
        return found

    async def _look_for_unknown(self) -> None:
        for uuid in await self._link.call(lambda hypervisor: hypervisor.domain_uuids()):
            if self.registry.domains.get(uuid) is None:
                await self._look(uuid, None)

    async def enable(self, uuid: UUID, options: EnableOptions, caller: Caller) -> Change:
        """Give the domain a virtual reader, in its configuration or while it runs."""
        if options.hotplug:
            return await self._plug(uuid, caller)
        said = _on_existing(options.on_existing) if options.on_existing else None
        changes = self._reconciler.changes
        async with self._turns.turn(uuid):
            changes.budget.forget(uuid)
            record = await changes.read(uuid)
            on_existing = said or self._reconciler.on_existing(record, caller.name)
            change = await changes.enable(record, on_existing, setup=options.setup, dry_run=options.dry_run)
            if change.changed and not options.dry_run:
                await self._reconcile(uuid)
            return change

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Take every virtual reader away, with its card and the wish, and put back what was replaced; or only what was
        hot-plugged."""
        if options.hotplug:
            return await self._unplug(uuid, options.slot)
        changes = self._reconciler.changes
        async with self._turns.turn(uuid):
            changes.budget.forget(uuid)
            record = await changes.read(uuid)
            slots = read_slots(record.live_xml)
            change = Change(False, "", False)
            if record.persistent or not slots:
                change = await changes.disable(record, dry_run=options.dry_run)
            if options.dry_run:
                return change
            if record.persistent:
                await changes.set_wish(record, "")
            await self._take_away(record, slots)
            self._reconciler.end_of_run(uuid)
            await self._reconcile(uuid)
            return replace(change, changed=change.changed or bool(slots), slots=slots)

    async def _plug(self, uuid: UUID, caller: Caller) -> Change:
        async with self._turns.turn(uuid):
            record = await self._reconciler.changes.read(uuid)
            try:
                slot = await self._reconciler.hotplug.plug(record, self._reconciler.request(record, caller.name))
            except VirtcardError:
                self._turns.wake(uuid)
                raise
            await self._reconcile(uuid)
        return Change(True, "", False, warnings(record.name), (slot,))

    async def _unplug(self, uuid: UUID, slot: int | None) -> Change:
        async with self._turns.turn(uuid):
            record = await self._reconciler.changes.read(uuid)
            slots = read_slots(record.live_xml) if slot is None else (chosen_slot(record, slot),)
            await self._take_away(record, slots)
            await self._reconcile(uuid)
        return Change(bool(slots), "", False, slots=slots)

    async def _take_away(self, record: DomainRecord, slots: tuple[int, ...]) -> tuple[int, ...]:
        """The cards leave first, in order; a bridge whose reader stays comes back with the next pass."""
        for slot in slots:
            await self._reconciler.bridges.end((record.uuid, slot))
            try:
                await self._reconciler.hotplug.unplug(record, slot)
            except VirtcardError:
                self._turns.wake(record.uuid)
                raise
            self._reconciler.insertions.drop_slot(record.uuid, slot)
        return slots

    def meant(self, source: str) -> str:
        """The card that a source of Insert means now, as exactly as it is known: "reader:NAME" for a glob or ""."""
        return self._readers.meant(source)

    async def insert(self, uuid: UUID, source: str, caller: Caller, options: InsertOptions) -> Key | None:
        """Put a card in a reader. None when the domain is off and only the wish was written."""
        return await self._inserter.insert(uuid, source, caller, options)

    async def eject(self, uuid: UUID, options: InsertOptions) -> None:
        """Take the card out; it stays out until an insert, or until the domain starts anew with a wish."""
        await self._inserter.eject(uuid, options)

    async def check(self, uuid: UUID) -> tuple[Finding, ...]:
        """Preflight: what would keep this domain from starting with a reader, and what its hot-plugged ones cost."""
        record = await self._reconciler.changes.read(uuid)
        findings = await self._reconciler.changes.check(record)
        findings += warnings(record.name) if read_slots(record.live_xml) else ()
        yields = record.running and self._yields(record)
        return findings + (self.viewers.findings(uuid) if yields else ())

    async def meet_viewers(self) -> None:
        """The line to libvirt is up: who is connected to machines that run already is asked for by and by."""
        await self._meeting.begin()

    def _yields(self, record: DomainRecord) -> bool:
        """Some rule lets a viewer's card go before the host's."""
        return self._reconciler.permits.yields_to_viewers(self._reconciler.request(record, ""))

    async def reload_policy(self) -> None:
        """Read the policy files anew; PolicyBroken when they are bad."""
        await self._reconciler.permits.policies.reload()

    def on_policy(self) -> None:
        """The policy was read anew: what it lets no longer in goes out at once, and every machine is looked at."""
        permits = self._reconciler.permits
        self.set_status(policy=permits.policies.state, policy_error=permits.policies.error)
        permits.consents.forget_refusals()
        self.judge_again()

    def judge_again(self) -> tuple[Denied, ...]:
        """What decides about cards has changed, the policy or the lock of the screen. Why cards went out."""
        denials = self._reconciler.seating.judge_all()
        for view in self.registry.domains.values():
            if view.has_reader:
                self._turns.wake(view.uuid)
        return denials

    def on_viewers(self, uuid: UUID) -> None:
        """A viewer's card came to a machine or went: where the rule says so, the host's goes out or comes back."""
        if self.viewers.shares_card(uuid, is_in=True):
            self._reconciler.seating.judge_all()
        self._turns.wake(uuid)

    def on_card(self, key: Key, wanted: Wanted) -> None:
        """The card of a bridge is another one than it was taken for."""
        self._reconciler.note_consents(key, wanted)
        self.on_answer(wanted.request.uuid)

    def on_bridge_ended(self, key: Key) -> None:
        """By itself, or it could not begin: it begins anew, but not at once, since the same may happen again."""
        self._turns.wake(key[0], BRIDGE_PAUSE)

    def on_answer(self, uuid: UUID) -> None:
        """A person has said what is to become of a domain's card."""
        self._turns.wake(uuid)

    def on_event(self, event: HypervisorEvent) -> None:
        """Something happened to a domain."""
        if event.uuid is not None and event.viewer is not None:
            self.viewers.take(event.uuid, (event.viewer,))
            return
        if event.uuid is None or (event.kind is EventKind.METADATA and event.namespace != WISH_NAMESPACE):
            return
        if came_in(event):
            self._came_in.add(event.uuid)
        if ends_login(event):
            self._reconciler.seating.logout(event.uuid)
        known = self.registry.domains.get(event.uuid) is not None
        burst = known and event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.DEFINED
        self._turns.wake(event.uuid, SETTLE if burst else 0.0)
        if _has_ended(event):
            self._reconciler.end_of_run(event.uuid)
        elif _is_set_back(event):
            self._reconciler.reverted.add(event.uuid)
        if event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STARTED:
            self._meeting.started(event.uuid)
        if event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STOPPED:
            self.viewers.forget(event.uuid)

    def host_sleeps(self) -> None:
        """The host goes to sleep or has woken up, and every login ends with that; cards stay in."""
        log.info("the host sleeps: every login ends")
        self._reconciler.seating.logout_all()

    def on_readers(self) -> None:
        """Readers or cards came or went: domains that could not get theirs may now."""
        for view in self.registry.domains.values():
            if view.has_reader and view.last_error:
                self._turns.wake(view.uuid)

    @property
    def lives(self) -> bool:
        """No pass goes on without an end."""
        return self._pass_began is None or time.monotonic() < self._pass_began + PASS_PATIENCE

    async def full_pass(self) -> None:
        """Everything: after libvirt came back, and slowly again and again, since some changes send no event."""
        async with self._passing:
            self._pass_began = time.monotonic()
            try:
                await self._pass()
                await asyncio.wrap_future(start(give_back_memory))
            finally:
                self._pass_took = time.monotonic() - self._pass_began
                self._pass_began = None

    async def _pass(self) -> None:
        self._turns.forget_touched()
        listing = await self._link.call(lambda hypervisor: hypervisor.listing())
        self._forget_all_but(listing.uuids)
        room = asyncio.Semaphore(PASS_LOOKS_MAX)
        async with asyncio.TaskGroup() as looks:
            for begin in range(0, len(listing.domains), PASS_LOOKS_MAX):
                part = partial(Hypervisor.read, listing=listing, begin=begin, count=PASS_LOOKS_MAX)
                for record in await self._link.call(part):
                    await room.acquire()
                    look = looks.create_task(self._look(record.uuid, record))
                    look.add_done_callback(lambda _: room.release())
                    await asyncio.sleep(0)
        self._readers.use(self._reconciler.bridges.readers())

    def _forget_all_but(self, existing: set[UUID]) -> None:
        for uuid in {uuid for uuid, _ in self.registry.domains.items()} - existing:
            self._turns.wake(uuid)
        self._reconciler.insertions.forget_all_but(existing)

    async def _look(self, uuid: UUID, record: DomainRecord | None) -> None:
        """A domain that cannot be reconciled does not keep the others from it. `record` may have been read before."""
        fresh = record is not None and not self._turns.touched(uuid)
        try:
            async with self._turns.turn(uuid):
                if record is not None and fresh:
                    await self._reconcile_record(record)
                else:
                    await self._reconcile(uuid)
        except VirtcardError as error:
            log.warning("domain %s: %s", uuid, error.message)
        except Exception:
            log.exception("domain %s: reconcile failed", uuid)

    async def run(self) -> None:
        """The slow passes, the counters and the watch over the policy, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reconciler.permits.policies.watch())
            tasks.create_task(self._slow_passes())
            tasks.create_task(self._counters())
            tasks.create_task(self._meeting.run(self._passing))

    async def close(self) -> None:
        """Every card out, in order; nothing is forgotten, so that the next start puts them in again."""
        await self.tracing.close()
        await self.healer.close()
        await self._turns.close()
        await self._reconciler.permits.consents.close()
        await self._reconciler.bridges.close()

    async def _slow_passes(self) -> None:
        while True:
            await asyncio.sleep(pause_after(self._pass_took))
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

    async def _reconcile(self, uuid: UUID) -> None:
        if uuid in self._came_in:
            self._came_in.discard(uuid)
            self._reconciler.came_in.add(uuid)
            await self._reconciler.bridges.end_all(uuid)
        try:
            await self._reconcile_record(await self._reconciler.changes.read(uuid))
        except NoSuchDomain:
            await self._reconciler.gone(uuid)
            self._meeting.gone(uuid)
        self._readers.use(self._reconciler.bridges.readers())

    async def _reconcile_record(self, record: DomainRecord) -> None:
        self._meeting.look(record, lambda: self._reconciler.request(record, ""))
        await self._reconciler.reconcile(record)


def _has_ended(event: HypervisorEvent) -> bool:
    """The machine that cards were inserted in is no more."""
    stopped = event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STOPPED
    return stopped and not _is_set_back(event)


def _is_set_back(event: HypervisorEvent) -> bool:
    """Its QEMU ends, and the machine goes on for its user in another one, from a snapshot."""
    stopped = event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STOPPED
    return stopped and event.detail == Stopped.FROM_SNAPSHOT


def _on_existing(text: str) -> OnExisting:
    try:
        return OnExisting(text)
    except ValueError:
        raise InvalidArgument(
            f"'{text[:32]}' is no way to treat an existing smart card.", hint="Use keep, replace or fail."
        ) from None
