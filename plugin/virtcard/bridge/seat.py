"""Which card shall be in the virtual reader, and which one is: bookkeeping without threads or sockets."""

from __future__ import annotations

from dataclasses import dataclass, field

from virtcard.card.base import Card, CardEvent


@dataclass(slots=True, eq=False)
class Slot:
    """A card that the bridge owns, and how it stands."""

    card: Card = field(repr=False)
    heard: bool = False
    """We listen to its events."""
    powered: bool = False
    """It was powered on and not off since."""
    usable: bool = True
    """Powering it on may work: it did not fail since the last event or pause."""
    fresh: bool = False
    """An INSERTED event came since the last call began."""
    stale: bool = False
    """What the guest has is not this card any more: out and in again."""
    stuck: bool = False
    """A thread that was given up is still inside the card: nobody else may use it."""


class Seat:
    """`wanted` is what the user asked for, `seated` what the session holds; the rest is to be let go."""

    def __init__(self) -> None:
        self.wanted: Slot | None = None
        self.seated: Slot | None = None
        self._retired: list[Slot] = []

    @property
    def must_leave(self) -> bool:
        """The card in the reader is to be ejected."""
        return self.seated is not None and (self.seated is not self.wanted or self.seated.stale)

    def want(self, card: Card) -> None:
        """This card shall be in. The same one again means: try once more."""
        slot = self._find(card) or Slot(card)
        if slot is not self.wanted:
            self.unwant()
        if slot in self._retired:
            self._retired.remove(slot)
        slot.usable = True
        self.wanted = slot

    def unwant(self) -> None:
        """No card shall be in."""
        slot, self.wanted = self.wanted, None
        if slot is not None and slot is not self.seated:
            self._retired.append(slot)

    def event(self, slot: Slot, event: CardEvent) -> None:
        """What a card reported."""
        if event is CardEvent.INSERTED:
            slot.usable = slot.fresh = True
        else:
            slot.usable = slot.fresh = False
            slot.stale = True

    def lost(self, slot: Slot) -> None:
        """A call found no card: it is usable again with the next INSERTED, or with one that came meanwhile."""
        slot.stale = True
        slot.usable = slot.fresh

    def unseat(self) -> None:
        """The session holds no card any more."""
        slot, self.seated = self.seated, None
        if slot is not None and slot is not self.wanted:
            self._retired.append(slot)

    def to_retire(self) -> Slot | None:
        """A card to let go now."""
        return next((slot for slot in self._retired if not slot.stuck), None)

    def retired(self, slot: Slot) -> None:
        """It was let go; it may have become wanted again meanwhile."""
        slot.heard = slot.powered = False
        if slot in self._retired:
            self._retired.remove(slot)

    def to_power_off(self) -> Slot | None:
        """The wanted card when it is powered without being in: its session ended."""
        slot = self._idle()
        return slot if slot is not None and slot.powered else None

    def to_hear(self) -> Slot | None:
        """The wanted card when we do not listen to it yet."""
        slot = self._idle()
        return slot if slot is not None and not slot.heard else None

    def to_power_on(self) -> Slot | None:
        """The wanted card when it can be put in."""
        slot = self._idle()
        return slot if slot is not None and slot.heard and slot.usable and not slot.powered else None

    def _idle(self) -> Slot | None:
        """The wanted card, when nobody uses it."""
        return None if self.wanted is None or self.wanted.stuck or self.seated is not None else self.wanted

    def _find(self, card: Card) -> Slot | None:
        known = [self.wanted, self.seated, *self._retired]
        return next((slot for slot in known if slot is not None and slot.card is card), None)
