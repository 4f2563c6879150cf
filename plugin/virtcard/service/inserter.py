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
from virtcard.service.api import Caller
from virtcard.service.bridges import Key
from virtcard.service.elsewhere import require_bridged
from virtcard.service.insertions import EJECTED, Insertion
from virtcard.service.permission import Consent, ConsentNeeded, Denied
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler, require_insertable
from virtcard.service.turns import Turns

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
    sources: Sources

    async def insert(self, uuid: UUID, source: str, caller: Caller, *, config: bool) -> Key | None:
        """Put a card in the reader. None when the domain is off and only the wish was written."""
        source = check_source(source) if source else self._only_source()
        self.sources.check(source)
        async with self.turns.turn(uuid):
            record = await self.reconciler.changes.read(uuid)
            require_bridged(record)
            if config and not record.running:
                await self.reconciler.changes.set_wish(record, source)
                await self.reconcile(uuid)
                return None
        before = await self._permitted(uuid, Insertion(source, caller.name), caller)
        await self._settle(uuid, source, before)
        if config:
            async with self.turns.turn(uuid):
                await self.reconciler.changes.set_wish(await self.reconciler.changes.read(uuid), source)
        return (uuid, 0)

    async def eject(self, uuid: UUID, *, config: bool) -> None:
        """Take the card out; it stays out until an insert, or until the domain starts anew with a wish."""
        async with self.turns.turn(uuid):
            record = await self.reconciler.changes.read(uuid)
            if config:
                await self.reconciler.changes.set_wish(record, "")
            else:
                require_bridged(record)
            if record.running:
                self.reconciler.insertions.put(uuid, EJECTED)
                self.reconciler.permits.consents.forget(uuid)
            await self.reconcile(uuid)
        await self.reconciler.bridges.until_empty((uuid, 0), TAKE_NOTICE)

    async def _permitted(self, uuid: UUID, insertion: Insertion, caller: Caller) -> Insertion | None:
        """Begin, and ask a person first when the policy says so: without the domain's turn, since that takes long."""
        for _ in range(ASKED_AGAIN):
            try:
                async with self.turns.turn(uuid):
                    return await self._put_in(await self.reconciler.changes.read(uuid), insertion)
            except ConsentNeeded as needed:
                insertion = Insertion(insertion.source, insertion.user, await self._ask(needed, caller))
            except Denied as denied:
                raise denied.told(caller) from None
        raise Busy("The card in the reader was changed again and again.", hint="Leave it in, and try again.")

    async def _ask(self, needed: ConsentNeeded, caller: Caller) -> Consent:
        why = await self.reconciler.permits.consents.ask(needed.request, needed.rule, AskFor.INSERT, caller)
        if why:
            raise Denied(needed.request, needed.rule, why).told(caller)
        return needed.consent

    async def _put_in(self, record: DomainRecord, insertion: Insertion) -> Insertion | None:
        """Begin; the insertion that there was before. Errors leave it and the reader as they were."""
        require_insertable(record)
        await self.reconciler.reconcile(record)
        before = self.reconciler.insertions.get(record.uuid)
        self.reconciler.insertions.put(record.uuid, insertion)
        try:
            await self.reconciler.put_in(record, insertion.source)
        except VirtcardError:
            self.reconciler.insertions.put_back(record.uuid, before)
            raise
        await self.reconcile(record.uuid)
        return before

    async def _settle(self, uuid: UUID, source: str, before: Insertion | None) -> None:
        """Wait until the card is in; when it cannot get in, leave things as they were before the call."""
        try:
            await self.reconciler.bridges.until_inserted((uuid, 0), source, TAKE_NOTICE)
        except VirtcardError:
            async with self.turns.turn(uuid):
                now = self.reconciler.insertions.get(uuid)
                if now is not None and now.source == source:
                    self.reconciler.insertions.put_back(uuid, before)
                    await self.reconcile(uuid)
            raise

    def _only_source(self) -> str:
        readers = self.readers.with_card()
        if len(readers) == 1:
            return f"reader:{readers[0].name}"
        if not readers:
            raise NoSuchCard("No host reader holds a card.", hint="Put one in, or name the source to insert.")
        names = ", ".join(f"reader:{view.name}" for view in readers)
        raise InvalidArgument("More than one card fits.", hint=f"Name one of {names}.")
