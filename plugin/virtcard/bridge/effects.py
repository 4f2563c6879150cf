"""What a session wants done: it says, the runner does."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Timer(StrEnum):
    """The timers of a session; at most one of each runs."""

    ACK = "ack"
    GAP = "gap"
    QUIET = "quiet"
    EJECT = "eject"
    TRANSMIT = "transmit"


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes now: always whole messages."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transmit:
    """Give this command APDU to the card; bring its answer with `Session.answer` or `Session.fail`. One that `goes_on`
    is a second question for the guest's command before, which waits for its answer still."""

    ticket: int
    command: bytes = field(repr=False)
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Call `Session.expired` in so many seconds; a timer that runs starts over."""

    timer: Timer
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """The timer is no longer needed; it may have stopped already."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Ready:
    """The greeting is over and the slot is empty: `Session.insert` is allowed from now on."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """QEMU has the ATR: the guest sees the card."""


@dataclass(frozen=True, slots=True)
class Refused:
    """QEMU did not take the ATR: the guest never saw the card. `Ejected` follows."""


@dataclass(frozen=True, slots=True)
class Ejected:
    """The card is out, or an insert was withdrawn: power it off."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The card let limits.TRANSMIT_PATIENCE pass. The guest has its VSC_Error and the card is on its way out."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The orderly end: close the socket."""


Effect = Send | Transmit | StartTimer | StopTimer | Ready | Inserted | Refused | Ejected | Hung | Finished
