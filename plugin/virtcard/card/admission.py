"""The door of a card: whoever comes in is looked at once more by the ATR, since another card may be in the reader."""

from __future__ import annotations

from collections.abc import Callable

from virtcard.card.base import Card, CardListener, Transmission
from virtcard.errors import CardError


class Admission:
    """A Card around a Card. `admit` gets the ATR of each power-on, and raises CardError for a card that may not."""

    def __init__(self, card: Card, admit: Callable[[bytes], None]) -> None:
        self._card = card
        self._admit = admit
        self.transmit = card.transmit
        """The card's own, without a step more for each command."""

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Power on, and off again when it is not admitted."""
        return self._admitted(self._card.power_on())

    def reset(self) -> bytes:
        """Reset; the card may be another one since."""
        return self._admitted(self._card.reset())

    def power_off(self) -> None:
        """Let go of the card."""
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        self._card.listen(listener)

    def _admitted(self, atr: bytes) -> bytes:
        try:
            self._admit(atr)
        except CardError:
            self._card.power_off()
            raise
        return atr
