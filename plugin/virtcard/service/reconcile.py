"""One pass over one domain: what it shall have against what it has, and the steps between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from virtcard.bridge.endpoint import Endpoint
from virtcard.domain.existing import OnExisting
from virtcard.domain.metadata import Wish, read_wish
from virtcard.domain.model import parse_domain
from virtcard.domain.record import DomainRecord
from virtcard.domain.run import RunOf
from virtcard.domain.state import ReaderState, VirtualReader, reader_state
from virtcard.errors import Conflict, Failed, InvalidArgument, InvalidXml, Trouble, VirtcardError
from virtcard.limits import CAME_IN_GAP, INSERT_GAP
from virtcard.policy.decide import Request
from virtcard.service.bridges import Bridges, Key
from virtcard.service.changes import Changes
from virtcard.service.desire import Desire, Facts, desire
from virtcard.service.elsewhere import served_elsewhere
from virtcard.service.hotplug import Hotplug
from virtcard.service.insertions import Insertion, Insertions
from virtcard.service.permission import ConsentNeeded, Denied, Wanted, consent_to
from virtcard.service.permits import Permits
from virtcard.service.registry import Shelf
from virtcard.service.seating import Seating
from virtcard.service.slots import GUEST_RUNS, slots_of
from virtcard.service.views import DomainView

log = logging.getLogger(__name__)

UNREADABLE = ReaderState(
    in_config=False, in_live=False, foreign="", cloned=False, pending=False, reader=VirtualReader.ABSENT
)
"""What is known of a domain whose XML cannot be read. Its bridge, if there is one, goes on."""

LOST = "A reader that was hot-plugged came here with the machine, and no card can be put in it."

Verifier = Callable[[UUID, str], Callable[[int], None] | None]
"""For a domain's UUID and name: the check of a socket's peer pid, or None where there is no QEMU."""


@dataclass(slots=True)
class Reconciler:
    """Idempotent; the caller holds the domain's turn."""

    domains: Shelf[UUID, DomainView]
    bridges: Bridges
    seating: Seating
    changes: Changes
    insertions: Insertions
    verifier: Verifier
    permits: Permits
    hotplug: Hotplug
    conflicts: set[UUID] = field(default_factory=set)
    came_in: set[UUID] = field(default_factory=set)
    """Domains that were migrated, restored or set back, until their bridges have begun anew."""
    run_of: RunOf = field(kw_only=True)
    reverted: set[UUID] = field(default_factory=set)
    """Domains that go on in another QEMU, set back to a snapshot, until that one was seen."""

    async def gone(self, uuid: UUID) -> None:
        """The domain does not exist any more."""
        self._drop_all_but(uuid, ())
        self.end_of_run(uuid)
        self.changes.gone(uuid)
        self.conflicts.discard(uuid)
        self.came_in.discard(uuid)
        self.domains.drop(uuid)

    async def reconcile(self, record: DomainRecord) -> None:
        """Bring the domain's configuration, bridge and card to where they shall be, and show it."""
        self.see_run(record)
        try:
            await self._reconcile(record)
        except InvalidXml as error:
            self._show(record, Wish(""), UNREADABLE, self.bridges.slots(record.uuid), [Trouble.of(error)])

    def see_run(self, record: DomainRecord) -> None:
        """What was for a run of the machine whose end nobody saw is not for the one that it is in now."""
        if not record.running:
            return
        uuid, run = record.uuid, self.run_of(record)
        if uuid in self.reverted:
            self.reverted.discard(uuid)
            self.insertions.go_on(uuid, run)
        elif not self.insertions.see(uuid, run):
            self.permits.consents.forget(uuid)
            for slot in self.bridges.slots(uuid):
                self.seating.take_out((uuid, slot))

    async def _reconcile(self, record: DomainRecord) -> None:
        notes: list[Trouble] = []
        wish = _wish(record, notes)
        state = _state(record)
        existing = self.on_existing(record, self.permits.wisher)
        lacks_reader = wish.card and not state.in_config and (existing is not OnExisting.KEEP or not state.foreign)
        if record.persistent and (state.cloned or lacks_reader):
            record = await self._configure(record, existing, notes)
            state = _state(record)
        else:
            self.conflicts.discard(record.uuid)
        record = await self._revive(record, wish, notes)
        self.changes.note_paths(record)
        if not record.running:
            self.end_of_run(record.uuid)
        slots = slots_of(record, state)
        if wish.card and not slots and (elsewhere := served_elsewhere(record)) is not None:
            notes.append(Trouble.of(elsewhere))
        self._drop_all_but(record.uuid, slots)
        for slot in slots:
            wanted = self._desired(record, slot, wish.card if slot == slots[0] else "")
            await self._serve(record, slot, wanted, self._request(record, wish.tags, slot), notes)
        self.came_in.discard(record.uuid)
        self._show(record, wish, state, slots, notes)

    async def _revive(self, record: DomainRecord, wish: Wish, notes: list[Trouble]) -> DomainRecord:
        """A machine that was restored or migrated brought hot-plugged readers along, with nothing behind them: where a
        rule permits it they are made anew, else a person must take them away. The domain as it is then."""
        lost = self.hotplug.lost(record) if record.state in GUEST_RUNS else ()
        request = Request(record.uuid, record.name, wish.tags, self.permits.wisher)
        if lost and not self.hotplug.may_plug(request):
            notes.append(Trouble(LOST, f"Run 'virtcard disable {record.name} --hotplug'."))
            return record
        try:
            for slot in lost:
                await self.bridges.end((record.uuid, slot))
                await self.hotplug.unplug(record, slot)
            for _ in lost:  # after all have gone, so that QEMU numbers them as before
                await self.hotplug.plug(await self.changes.read(record.uuid), request)
        except VirtcardError as error:
            notes.append(Trouble.of(error))
        return await self.changes.read(record.uuid) if lost else record

    def _drop_all_but(self, uuid: UUID, slots: tuple[int, ...]) -> None:
        """End the bridges to readers that are gone."""
        for slot in set(self.bridges.slots(uuid)) - set(slots):
            self.bridges.drop((uuid, slot))
            if slot:
                self.hotplug.forget(uuid, slot)

    def _desired(self, record: DomainRecord, slot: int, wish: str) -> Desire:
        call = self.insertions.get(record.uuid, slot)
        return desire(
            Facts(
                wish=wish,
                call=call.source if call else None,
                running=record.state in GUEST_RUNS,
                alive=record.running,
            )
        )

    def on_existing(self, record: DomainRecord, user: str) -> OnExisting:
        """What the policy says to do with another smart card device."""
        return self.permits.on_existing(self.request(record, user))

    def request(self, record: DomainRecord, user: str) -> Request:
        """The domain's part of what the policy is asked, for a call of this user."""
        return Request(record.uuid, record.name, _wish(record, []).tags, user)

    def _request(self, record: DomainRecord, tags: frozenset[str], slot: int) -> Request:
        """The domain's part of what the policy is asked, and who called for the card that is in it."""
        call = self.insertions.get(record.uuid, slot)
        return Request(record.uuid, record.name, tags, call.user if call else self.permits.wisher)

    def end_of_run(self, uuid: UUID) -> None:
        """What was put in, and said yes to, was for one run of the machine."""
        self.reverted.discard(uuid)
        self.insertions.drop(uuid)
        self.permits.decisions.forget(uuid)
        self.permits.consents.forget(uuid)

    async def _configure(self, record: DomainRecord, existing: OnExisting, notes: list[Trouble]) -> DomainRecord:
        """Give a reader to a domain that wishes one, and mend a clone's; the domain as it is then."""
        try:
            change = await self.changes.enable(record, existing)
        except VirtcardError as error:
            notes.append(Trouble.of(error))
            if isinstance(error, Conflict):
                self.conflicts.add(record.uuid)
            return record
        self.conflicts.discard(record.uuid)
        return await self.changes.read(record.uuid) if change.changed else record

    async def _serve(
        self, record: DomainRecord, slot: int, wanted: Desire, request: Request, notes: list[Trouble]
    ) -> None:
        key: Key = (record.uuid, slot)
        if not wanted.bridge:
            self.bridges.drop(key)
            return
        path = self.hotplug.path(record.uuid, slot) if slot else self._live_path(record)
        gap = CAME_IN_GAP if record.uuid in self.came_in else INSERT_GAP
        try:
            self.bridges.ensure(key, Endpoint.unix(path), self.verifier(record.uuid, record.name), gap)
        except Failed as failed:
            notes.append(Trouble.of(failed))
            return
        if wanted.card is None:
            return
        if not wanted.card:
            self.seating.take_out(key)
            return
        try:
            await self.seating.set_card(key, self._wanted(replace(request, source=wanted.card), slot))
        except Denied as denied:
            notes.append(Trouble(self._turn_away(key, denied), denied.hint))
        except VirtcardError as error:
            notes.append(Trouble.of(error))

    async def put_in(self, record: DomainRecord, slot: int, source: str) -> None:
        """Put in what a call asks for; errors leave the reader as it was."""
        request = self._request(record, _wish(record, []).tags, slot)
        await self.seating.set_card((record.uuid, slot), self._wanted(replace(request, source=source), slot))

    def _wanted(self, request: Request, slot: int) -> Wanted:
        """A card with what persons have said yes to, in this run of the machine."""
        call = self.insertions.get(request.uuid, slot)
        given = self.permits.consents.given(request.uuid)
        return Wanted(request, given | {call.consent} if call else given)

    def note_consents(self, key: Key, wanted: Wanted) -> None:
        """A yes to whatever is in a reader has become one to the card that was found there."""
        (uuid, slot), consent = key, consent_to(wanted.request)
        call = self.insertions.get(uuid, slot)
        if consent not in wanted.consents or self._wanted(wanted.request, slot).consents >= {consent}:
            return
        if call is None:
            self.permits.consents.give(uuid, consent)
        else:
            self.insertions.note(uuid, Insertion(call.source, call.user, consent), slot)

    def forget_consents(self, uuid: UUID, slot: int) -> None:
        """The card was taken out: the next one is asked for anew, unless another reader still has one."""
        if not any(self.bridges.source((uuid, other)) for other in self.bridges.slots(uuid) if other != slot):
            self.permits.consents.forget(uuid)

    def _turn_away(self, key: Key, denied: Denied) -> str:
        """The card may not be in, or not yet; why, as a sentence."""
        if self.bridges.source(key) == denied.request.source:
            self.seating.take_out(key)
        return self.permits.consents.want(denied) if isinstance(denied, ConsentNeeded) else denied.message

    def _live_path(self, record: DomainRecord) -> str:
        reader = parse_domain(record.live_xml or record.inactive_xml).reader
        return reader.path if reader else self.changes.socket_path(record.uuid)

    def _show(
        self, record: DomainRecord, wish: Wish, state: ReaderState, slots: tuple[int, ...], notes: list[Trouble]
    ) -> None:
        self.domains.put(
            record.uuid,
            DomainView(
                uuid=record.uuid,
                name=record.name,
                id=record.id,
                state=record.state,
                persistent=record.persistent,
                enabled=state.in_config,
                live=state.in_live,
                reader=VirtualReader.CONFLICT if record.uuid in self.conflicts else state.reader,
                wish=wish.card,
                card=self.bridges.source((record.uuid, min(slots, default=0))),
                foreign=state.foreign,
                last_error=_joined(note.message for note in notes),
                hint=_joined(note.hint for note in notes),
                mode=state.mode,
                tags=tuple(sorted(wish.tags)),
                hotplugged=tuple(sorted(filter(None, slots))),
            ),
        )


def _joined(sentences: Iterable[str]) -> str:
    return " ".join(filter(None, dict.fromkeys(sentences)))


def _state(record: DomainRecord) -> ReaderState:
    return reader_state(record.inactive_xml, record.live_xml, managed_save=record.managed_save)


def _wish(record: DomainRecord, notes: list[Trouble]) -> Wish:
    """The running machine's wish, or else the configuration's; a bad one is noted and counts as none.

    Tags are those of the configuration, or else the running machine's."""
    found: list[Wish] = []
    for xml in (record.live_xml, record.inactive_xml):
        if xml is None:
            continue
        try:
            wish = read_wish(xml)
        except InvalidArgument as error:
            notes.append(Trouble.of(error))
            continue
        if wish is not None:
            found.append(wish)
    card = next((wish.card for wish in found if wish.card), "")
    return Wish(card, next((wish.tags for wish in reversed(found) if wish.tags), frozenset()))
