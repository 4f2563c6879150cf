"""A software card as a bridge holds it: in use between `power_on` and `power_off`, free for others in between.

A bridge powers its card off when the machine stops and on again when it starts, and so takes up what was changed in
the store meanwhile: another PIN, another certificate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from virtcard import limits
from virtcard.card.base import Card, CardListener, Transmission
from virtcard.errors import Busy, CardAbsent, CardError, NoSuchCard, VirtcardError

_TURN: Final = 0.05
"""Seconds between two looks whether a card that is in use is free."""


class StoredCard:
    """A `virtcard.card.base.Card` that `opened` gives anew after each `power_off`; the first one is given."""

    transmission = Transmission.T0

    def __init__(self, card: Card, opened: Callable[[], Card]) -> None:
        self._card: Card | None = card
        self._opened = opened

    def power_on(self) -> bytes:
        """Take the card, when it is not taken yet; the ATR. CardAbsent when it was deleted, CardError when in use."""
        if self._card is None:
            self._card = self._taken()
        return self._card.power_on()

    def transmit(self, command: bytes) -> bytes:
        """The answer of the card; CardAbsent while it is off."""
        return self._powered().transmit(command)

    def reset(self) -> bytes:
        """Reset the card; the ATR. CardAbsent while it is off."""
        return self._powered().reset()

    def power_off(self) -> None:
        """Let others take the card."""
        card, self._card = self._card, None
        if card is not None:
            card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """A software card goes only when it is ejected: it reports nothing."""

    def _powered(self) -> Card:
        if self._card is None:
            raise CardAbsent("The software card is off.")
        return self._card

    def _taken(self) -> Card:
        """A command that changes the card has it for a moment: that is waited for."""
        deadline = time.monotonic() + limits.CARD_STORE_PATIENCE
        while True:
            try:
                return self._opened()
            except NoSuchCard as error:
                raise CardAbsent(error.message, hint=error.hint) from error
            except VirtcardError as error:
                if not isinstance(error, Busy) or time.monotonic() > deadline:
                    raise CardError(error.message, hint=error.hint) from error
            time.sleep(_TURN)
