"""A card that goes in anew while a thread is still in it: nobody gets it before that thread has let it go.

A bridge puts a card in anew when the policy treats it in another way. What stood around it before may be in the middle
of a command then, for as long as a person thinks; a card that can be opened once is not to be used by two threads, nor
powered off under whoever has it next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from virtcard.card.base import Card, CardEvent, CardListener, Transmission
from virtcard.errors import CardAbsent, CardError


class Tenant:
    """A Card around a Card. Of all tenants of a card one has it, from `power_on` to `power_off`.

    One whom `power_on` refused hears INSERTED when the card is free."""

    def __init__(self, card: Card, house: _House | None = None) -> None:
        self._card = card
        self._house = house or _House()
        self._listener: CardListener | None = None
        self._heeded = True
        """The card knows our listener."""
        self.lingers = True
        """It was not let go since it was opened, or powered on: whoever opens the card anew may find it in use."""
        self.on_free: Callable[[], object] = lambda: None
        """Told in the thread that has let the card go."""

    def successor(self) -> Tenant:
        """The next tenant of the same card."""
        return Tenant(self._card, self._house)

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Power the card on; CardError while another one has it."""
        if not self._house.take(self, waits=True):
            hint = "It goes in when that command has ended."
            raise CardError("The card is still at work on an earlier command.", hint=hint)
        self.lingers = True
        if not self._heeded:
            self.listen(self._listener)
        return self._card.power_on()

    def transmit(self, command: bytes) -> bytes:
        """The card's answer; CardAbsent while it is off."""
        return self._powered().transmit(command)

    def reset(self) -> bytes:
        """Reset the card; CardAbsent while it is off."""
        return self._powered().reset()

    def power_off(self) -> None:
        """Let the card go, for the next one. Nothing while another one has it."""
        has_it = self._house.take(self, waits=False)
        if has_it:
            self._card.power_off()
            self._house.leave()
        self.lingers = False
        if has_it:
            self.on_free()

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events, when nobody else has it."""
        self._listener = listener
        self._heeded = self._house.tenant in (None, self)
        if self._heeded:
            self._card.listen(listener)

    def free(self) -> None:
        """The card that was refused can be had."""
        if self._listener is not None:
            self._listener(CardEvent.INSERTED)

    def _powered(self) -> Card:
        if self._house.tenant is not self:
            raise CardAbsent("The card is off.")
        return self._card


class _House:
    """Who has the card, and who waits for it."""

    def __init__(self) -> None:
        self.tenant: Tenant | None = None
        self._waiting: list[Tenant] = []
        self._lock = threading.Lock()

    def take(self, tenant: Tenant, *, waits: bool) -> bool:
        """This one has the card now; not while another one has it, and then it may wait to be told."""
        with self._lock:
            if tenant in self._waiting:
                self._waiting.remove(tenant)
            if self.tenant in (None, tenant):
                self.tenant = tenant
                return True
            if waits:
                self._waiting.append(tenant)
            return False

    def leave(self) -> None:
        """Nobody has it now, and those who wait are told."""
        with self._lock:
            self.tenant = None
            waiting, self._waiting = self._waiting, []
        for tenant in waiting:
            tenant.free()
