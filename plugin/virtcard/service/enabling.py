"""Enable and disable: calls that give a domain a virtual reader or take it away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

from virtcard.domain.existing import OnExisting
from virtcard.domain.hotplug import read_slots
from virtcard.domain.record import DomainRecord
from virtcard.errors import InvalidArgument, VirtcardError
from virtcard.service.api import Caller, EnableOptions
from virtcard.service.hotplug import warnings
from virtcard.service.reconcile import Reconciler
from virtcard.service.slots import chosen_slot
from virtcard.service.turns import Turns
from virtcard.service.views import Change


@dataclass(frozen=True, slots=True)
class Enabling:
    """Holds a domain's turn meanwhile."""

    turns: Turns
    reconciler: Reconciler
    reconcile: Callable[[UUID], Awaitable[None]]
    """Reads a domain anew and reconciles it."""

    async def enable(self, uuid: UUID, options: EnableOptions, caller: Caller) -> Change:
        """Give the domain a virtual reader, in its configuration or while it runs."""
        if options.hotplug:
            return await self._plug(uuid, caller)
        said = _on_existing(options.on_existing) if options.on_existing else None
        changes = self.reconciler.changes
        async with self.turns.turn(uuid):
            changes.budget.forget(uuid)
            record = await changes.read(uuid)
            on_existing = said or self.reconciler.on_existing(record, caller.name)
            change = await changes.enable(record, on_existing, setup=options.setup, dry_run=options.dry_run)
            if change.changed and not options.dry_run:
                await self.reconcile(uuid)
            return change

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Take every virtual reader away, with its card and the wish, and put back what was replaced; or only what was
        hot-plugged."""
        if options.hotplug:
            return await self._unplug(uuid, options.slot)
        changes = self.reconciler.changes
        async with self.turns.turn(uuid):
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
            self.reconciler.end_of_run(uuid)
            await self.reconcile(uuid)
            return replace(change, changed=change.changed or bool(slots), slots=slots)

    async def _plug(self, uuid: UUID, caller: Caller) -> Change:
        async with self.turns.turn(uuid):
            record = await self.reconciler.changes.read(uuid)
            try:
                slot = await self.reconciler.hotplug.plug(record, self.reconciler.request(record, caller.name))
            except VirtcardError:
                self.turns.wake(uuid)
                raise
            await self.reconcile(uuid)
        return Change(True, "", False, warnings(record.name), (slot,))

    async def _unplug(self, uuid: UUID, slot: int | None) -> Change:
        async with self.turns.turn(uuid):
            record = await self.reconciler.changes.read(uuid)
            slots = read_slots(record.live_xml) if slot is None else (chosen_slot(record, slot),)
            await self._take_away(record, slots)
            await self.reconcile(uuid)
        return Change(bool(slots), "", False, slots=slots)

    async def _take_away(self, record: DomainRecord, slots: tuple[int, ...]) -> None:
        """The cards leave first, in order; a bridge whose reader stays comes back with the next pass."""
        for slot in slots:
            await self.reconciler.bridges.end((record.uuid, slot))
            try:
                await self.reconciler.hotplug.unplug(record, slot)
            except VirtcardError:
                self.turns.wake(record.uuid)
                raise
            self.reconciler.insertions.drop_slot(record.uuid, slot)


def _on_existing(text: str) -> OnExisting:
    try:
        return OnExisting(text)
    except ValueError:
        raise InvalidArgument(
            f"'{text[:32]}' is no way to treat an existing smart card.", hint="Use keep, replace or fail."
        ) from None
