"""Which card is in the virtual reader of a bridge: put in as the policy says, judged again, taken out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from uuid import UUID

from virtcard.card.base import Card, InReader
from virtcard.card.tenant import Tenant
from virtcard.errors import CardError, VirtcardError
from virtcard.service.bridges import Bridges, Key, ending, no_bridge
from virtcard.service.opening import Opening
from virtcard.service.permission import Denied, Gate, Wanted
from virtcard.service.running import Running, Seated
from virtcard.service.threads import start
from virtcard.service.wardrobe import Fitting, Wardrobe

log = logging.getLogger(__name__)

OnCard = Callable[[Key, Wanted], None]
"""Told when the card of a bridge turns out to be another one than it was taken for, with what is known now."""


class Seating:
    """Belongs to the event loop's thread; a card is admitted in its bridge's."""

    def __init__(
        self,
        bridges: Bridges,
        opening: Opening,
        wardrobe: Wardrobe,
        gate: Gate,
        *,
        atr_of: Callable[[str], bytes],
        on_card: OnCard,
        on_free: Callable[[UUID], None],
    ) -> None:
        """`atr_of` tells the ATR of the card in a host reader, b"" when there is none. `on_free` hears that a domain's
        bridge has let a card go that one opener alone can have."""
        self._bridges = bridges
        self._opening = opening
        self._wardrobe = wardrobe
        self._gate = gate
        self._atr_of = atr_of
        self._on_card = on_card
        self._on_free = on_free
        self._loop = asyncio.get_running_loop()

    async def set_card(self, key: Key, wanted: Wanted) -> None:
        """Put the card of a source in, if the policy lets it. Errors leave the reader as it was.

        Failed when no bridge runs there. Denied or ConsentNeeded is an error too, for the card that is in already as
        well. One that the policy treats in another way now is out when it cannot go in anew."""
        running = self._bridges.at(key)
        if self._stays(key, running, wanted):
            return
        card = await self._open(key, running, wanted.source)
        wanted = self._known(wanted, card)
        try:
            decision = self._gate.judge(wanted.request, wanted.consents)
            self._seat(key, running, Seated(card, wanted, decision, decision))
        except VirtcardError:
            start(card.power_off)
            running.renewed = None
            raise

    def logout(self, uuid: UUID) -> None:
        """End what logins there are from this domain; its cards stay in."""
        for (domain, _), running in self._bridges.items():
            if domain == uuid and running.logout:
                running.logout()

    def logout_all(self) -> None:
        """End the logins from all domains; their cards stay in."""
        for _, running in self._bridges.items():
            if running.logout:
                running.logout()

    def take_out(self, key: Key) -> None:
        """Take out what is in."""
        running = self._bridges.get(key)
        if running is None:
            return
        running.renewed = None
        if running.seated:
            running.left, running.seated, running.logout = running.seated, None, None
            running.bridge.eject()
            self._bridges.show_card(key, running)

    def judge_all(self) -> tuple[Denied, ...]:
        """Something changed: cards that may be in no longer go out at once, and why they do.

        Those that are to be treated in another way go out as well, until `set_card`: it may have to wait for others."""
        judged = [self._judge(key, running) for key, running in self._bridges.items()]
        return tuple(denied for denied in judged if denied is not None)

    def _judge(self, key: Key, running: Running) -> Denied | None:
        """Out with a card that may be in no longer, and why. A fault at one keeps no other one in."""
        if running.seated is None:
            return None
        try:
            self._stays(key, running, running.seated.wanted)
        except Denied as denied:
            log.warning("domain %s: %s", key[0], denied.message)
            self.take_out(key)
            return denied
        except Exception:
            log.exception("domain %s: its card could not be judged again", key[0])
            self.take_out(key)
        return None

    def _stays(self, key: Key, running: Running, wanted: Wanted) -> bool:
        """What is wanted is in already, and may stay as it is. Out with it when the policy treats it in another way.

        The policy may have changed since, and whoever asks, and the card in the reader."""
        seated = running.seated
        if seated is None or seated.wanted.source != wanted.source:
            return False
        now = seated.wanted.request
        wanted = replace(wanted, request=replace(wanted.request, reader=now.reader, atr=now.atr))
        decision = self._gate.judge(wanted.request, wanted.consents, is_in=True)
        if not decision.suits(seated.decision):
            self.take_out(key)
            running.renewed = seated
            return False
        seated.wanted, seated.now = wanted, decision
        return True

    async def _open(self, key: Key, running: Running, source: str) -> Card:
        """A card that goes in anew is opened anew in the same reader: a thread may be stuck in the old one. Others may
        have one opener alone, and wait for that thread, or for the bridge to let the card go."""
        left, renewed = running.left, running.renewed
        if left is not None and left.wanted.source == source and isinstance(left.card, Tenant) and left.card.lingers:
            return left.card.successor()
        if renewed is not None and renewed.wanted.source == source and not isinstance(renewed.card, Tenant):
            source = renewed.wanted.request.card
        card = await self._opening.open(source)
        if self._bridges.get(key) is not running:
            start(card.power_off)
            raise ending()
        return card if isinstance(card, InReader) else Tenant(card)

    def _known(self, wanted: Wanted, card: Card) -> Wanted:
        """With the reader that the source means, and what is in it."""
        if not isinstance(card, InReader):
            return wanted
        return replace(wanted, request=replace(wanted.request, reader=card.reader, atr=self._atr_of(card.reader)))

    def _seat(self, key: Key, running: Running, seated: Seated) -> None:
        admit = partial(self._admit, key, seated)
        before = running.seated or running.left
        dressed = self._wardrobe.dress(
            Fitting(
                seated.card,
                key[1],
                lambda: seated.wanted.request,
                seated.decision,
                lambda: seated.now.rule,
                running.ledger,
                admit,
                before.card if before else None,
            )
        )
        if isinstance(seated.card, Tenant):
            seated.card.on_free = partial(self._loop.call_soon_threadsafe, self._on_free, key[0])
        if not running.bridge.insert(dressed.card):
            raise no_bridge()
        running.left = before
        running.seated, running.renewed, running.logout = seated, None, dressed.logout
        self._bridges.show_card(key, running)

    def _admit(self, key: Key, seated: Seated, atr: bytes) -> None:
        """In the bridge's thread, with the ATR of the card that was found: does the decision hold for it?"""
        wanted, decision = seated.wanted, seated.decision
        if atr == wanted.request.atr:
            return
        wanted = wanted.with_atr(atr)
        self._loop.call_soon_threadsafe(self._found, key, seated, wanted)
        try:
            found = self._gate.judge(wanted.request, wanted.consents)
        except Denied as denied:
            raise CardError(denied.message, hint=denied.hint) from denied
        if not found.suits(decision):
            raise CardError("The policy treats the card in the reader in another way; it goes in anew.")

    def _found(self, key: Key, seated: Seated, wanted: Wanted) -> None:
        running = self._bridges.get(key)
        if running and running.seated is seated:
            seated.wanted = wanted
            self._on_card(key, wanted)
