"""A card that is made when it is powered on, and let go when it is powered off: again and again."""

from __future__ import annotations

from collections.abc import Callable

from virtcard.card.base import Card, CardListener, Transmission
from virtcard.errors import CardAbsent


class RemadeCard:
    """A Card around whatever `make` returns: what it holds (a file, say) is free while it has no power.

    A bridge powers its card off whenever QEMU goes away, and on again when it is back.
    """

    transmission = Transmission.T0

    def __init__(self, make: Callable[[], Card]) -> None:
        self._make = make
        self._card: Card | None = None

    def power_on(self) -> bytes:
        """Make it, unless it is there; errors are those of `make` and of its own `power_on`."""
        if self._card is None:
            self._card = self._make()
        return self._card.power_on()

    def transmit(self, command: bytes) -> bytes:
        """CardAbsent without power."""
        return self._made().transmit(command)

    def reset(self) -> bytes:
        """CardAbsent without power."""
        return self._made().reset()

    def power_off(self) -> None:
        """Let go of it."""
        card, self._card = self._card, None
        if card is not None:
            card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """A software card comes and goes with its bridge: it reports nothing."""

    def _made(self) -> Card:
        if self._card is None:
            raise CardAbsent("The card has no power.")
        return self._card
