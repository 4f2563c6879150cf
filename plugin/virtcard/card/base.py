"""The card seam: bytes in, bytes out. Everything a bridge can hold is a Card; wrappers are Cards around a Card.

This module and `virtcard.errors` are all that a card source of a third party needs of virtcard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from virtcard.card.reader_watcher import ReaderWatcher


class Transmission(IntEnum):
    """The transmission protocol a card speaks (ISO 7816-3); software cards speak T=0."""

    T0 = 0
    T1 = 1


class CardEvent(StrEnum):
    """What a card reports by itself, from any thread."""

    INSERTED = "inserted"
    REMOVED = "removed"


CardListener = Callable[[CardEvent], None]


class Card(Protocol):
    """One card, used by one bridge thread at a time.

    Every method may block. Errors are `virtcard.errors.CardError` and its subclasses.
    """

    @property
    def transmission(self) -> Transmission:
        """The protocol in use since the last `power_on`."""

    def power_on(self) -> bytes:
        """Power the card up, with a reset, and return its ATR (2 to 33 bytes)."""

    def transmit(self, command: bytes) -> bytes:
        """Send a command APDU (at least 4 bytes); return the response APDU (at least 2 bytes, the status word last)."""

    def reset(self) -> bytes:
        """Reset the card, so that no PIN stays verified, and return its ATR."""

    def power_off(self) -> None:
        """Reset and let go of the card. Never raises."""

    def listen(self, listener: CardListener | None) -> None:
        """Report card events to `listener` (from any thread), or to nobody."""


@runtime_checkable
class InReader(Protocol):
    """A card that sits in a host reader, and knows in which."""

    reader: str
    """The PC/SC name of the reader."""


class SharedCard(Card, InReader, Protocol):
    """A card that others use too. One who has begun has it alone, until the end."""

    def power_on(self, *, exclusive: bool = False) -> bytes:
        """As `Card.power_on`. `exclusive`: nobody else gets it until `power_off`; CardError when somebody uses it."""

    def begin(self) -> None:
        """Have the card alone; blocks while somebody else does. CardWasReset: it was reset meanwhile, so try again."""

    def end(self, *, reset: bool) -> None:
        """Let others have it; with `reset`, so that no PIN stays verified for them."""

    def leave(self) -> None:
        """Let go of the card as it is, without a reset. Never raises, and waits for nobody."""


@runtime_checkable
class Source(Protocol):
    """What a user names `scheme:rest`: it opens the card that a bridge then owns."""

    def open(self, rest: str) -> Card:
        """The card behind `rest`; NoSuchReader or NoSuchCard when there is none."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the factory of a source is given: the process that its cards will live in."""

    session: bool
    """A user's own, virtcardd or command; else the system's."""
    watcher: Callable[[], ReaderWatcher]
    """The watcher of host readers that all sources of this process share."""


SourceFactory = Callable[[Surroundings], Source]
"""The value of an entry point of the group `virtcard.sources`. It only makes: opening is for `Source.open`."""
