"""Insert and eject: calls that change which card shall be in a reader, and wait until it is so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from virtcard import limits
from virtcard.card.sources import Sources
from virtcard.domain.metadata import check_source
from virtcard.domain.record import DomainRecord
from virtcard.errors import Busy, InvalidArgument, NoSuchCard, VirtcardError
from virtcard.policy.model import AskFor
from virtcard.service.api import Caller, InsertOptions
from virtcard.service.awaiting import until_empty, until_inserted
from virtcard.service.bridges import Key
from virtcard.service.changes import require_persistent
from virtcard.service.elsewhere import served_elsewhere
from virtcard.service.insertions import EJECTED, Insertion
from virtcard.service.permission import Consent, ConsentNeeded, Denied
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler
from virtcard.service.registry import Shelf
from virtcard.service.slots import chosen_slot, require_insertable
from virtcard.service.turns import Turns
from virtcard.service.views import CardView

TAKE_NOTICE = limits.LOST_ANSWER_GAP + 5.0
"""Seconds in which a guest's reader takes a card in or lets it go: at worst it sits in a command that QEMU
forgot, and looks at its reader no earlier than it gives that up."""

ASKED_AGAIN = 3
"""Times that a call asks when the card in the reader is another one after the answer."""


@dataclass(frozen=True, slots=True)
class Inserter:
    """Holds a domain's turn while it changes what shall be, and not while it waits for the guest."""

    turns: Turns
    reconciler: Reconciler
    reconcile: Callable[[UUID], Awaitable[None]]
    """Reads a domain anew and reconciles it."""
    readers: Readers
    cards: Shelf[str, CardView]
    sources: Sources

    async def insert(self, uuid: UUID, source: str, caller: Caller, options: InsertOptions) -> Key | None:
        """Put a card in a reader. None when the domain is off and only the wish was written."""
        source = check_source(source) if source else self._only_source()
        self.sources.check(source)
        async with self.turns.turn(uuid):
            record = await self.reconciler.changes.read(uuid)
            key = (uuid, chosen_slot(record, options.slot))
            _refuse_wish_for_a_slot(options)
            if options.config:
                require_persistent(record)
            if options.config and not record.running:
                await self.reconciler.changes.set_wish(record, source)
                await self.reconcile(uuid)
                return None
        before = await self._permitted(key, Insertion(source, caller.name), caller)
        await self._settle(key, source, before)
        if options.config:
            async with self.turns.turn(uuid):
                await self.reconciler.changes.set_wish(await self.reconciler.changes.read(uuid), source)
        return key

    async def eject(self, uuid: UUID, options: InsertOptions) -> None:
        """Take the card out; it stays out until an insert, or until the domain starts anew with a wish."""
        async with self.turns.turn(uuid):
            record = await self.reconciler.changes.read(uuid)
            _refuse_wish_for_a_slot(options)
            self.reconciler.see_run(record)
            slot = 0 if options.config and served_elsewhere(record) else chosen_slot(record, options.slot)
            if options.config:
                await self.reconciler.changes.set_wish(record, "")
            if record.running:
                self.reconciler.insertions.note(uuid, EJECTED, slot)
                self.reconciler.forget_consents(uuid, slot)
                self.reconciler.permits.decisions.forget(uuid)
            await self.reconcile(uuid)
        await until_empty(self.reconciler.bridges.shelf, (uuid, slot), TAKE_NOTICE)

    async def _permitted(self, key: Key, insertion: Insertion, caller: Caller) -> Insertion | None:
        """Begin, and ask a person first when the policy says so: without the domain's turn, since that takes long."""
        for _ in range(ASKED_AGAIN):
            try:
                async with self.turns.turn(key[0]):
                    record = await self.reconciler.changes.read(key[0])
                    return await self._put_in(record, chosen_slot(record, key[1]), insertion)
            except ConsentNeeded as needed:
                insertion = Insertion(insertion.source, insertion.user, await self._ask(needed, caller))
            except Denied as denied:
                self.reconciler.permits.decisions.forget(key[0], denied.request.card)
                raise denied.told(caller) from None
        raise Busy("The card in the reader was changed again and again.", hint="Leave it in, and try again.")

    async def _ask(self, needed: ConsentNeeded, caller: Caller) -> Consent:
        answer = await self.reconciler.permits.consents.ask(needed.request, needed.rule, AskFor.INSERT, caller)
        if not answer.allowed:
            raise Denied(needed.request, needed.rule, answer.why).told(caller)
        return needed.consent

    async def _put_in(self, record: DomainRecord, slot: int, insertion: Insertion) -> Insertion | None:
        """Begin; the insertion that there was before. Errors leave it and the reader as they were."""
        require_insertable(record, slot)
        await self.reconciler.reconcile(record)
        before = self.reconciler.insertions.get(record.uuid, slot)
        self.reconciler.insertions.put(record.uuid, insertion, slot)
        try:
            await self.reconciler.put_in(record, slot, insertion.source)
        except VirtcardError:
            self.reconciler.insertions.put_back(record.uuid, before, slot)
            raise
        await self.reconcile(record.uuid)
        return before

    async def _settle(self, key: Key, source: str, before: Insertion | None) -> None:
        """Wait until the card is in; when it cannot get in, leave things as they were before the call."""
        uuid, slot = key
        try:
            await until_inserted(self.reconciler.bridges.shelf, key, source, TAKE_NOTICE)
        except VirtcardError:
            async with self.turns.turn(uuid):
                now = self.reconciler.insertions.get(uuid, slot)
                if now is not None and now.source == source:
                    self.reconciler.insertions.put_back(uuid, before, slot)
                    await self.reconcile(uuid)
            raise

    def _only_source(self) -> str:
        """The only card that fits: of host readers, or of the software cards when no reader holds one."""
        fitting = [f"reader:{view.name}" for view in self.readers.with_card()]
        fitting = fitting or [f"card:{name}" for name, view in self.cards.items() if not view.last_error]
        if not fitting:
            hint = "Put one in, or name the source to insert; 'virtcard status' tells whether pcscd is there."
            raise NoSuchCard("No host reader holds a card, and there is no software card.", hint=hint)
        if len(fitting) > 1:
            raise InvalidArgument("More than one card fits.", hint=f"Name one of {', '.join(sorted(fitting))}.")
        return fitting[0]


def _refuse_wish_for_a_slot(options: InsertOptions) -> None:
    if options.config and options.slot is not None:
        raise InvalidArgument(
            "The wish in the metadata is for a machine's first reader, and not for a slot.",
            hint="Leave out either of the two.",
        )
