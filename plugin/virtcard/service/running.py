"""A bridge that runs, and the card that was given to it: records of the event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from virtcard import limits
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.bridge.status import BridgeState
from virtcard.card.audit import Ledger
from virtcard.card.base import Card
from virtcard.policy.decide import Decision
from virtcard.service.permission import Wanted


@dataclass(slots=True)
class Running:
    """A bridge, and what the service knows of it."""

    bridge: Bridge
    endpoint: Endpoint
    ledger: Ledger = field(default_factory=Ledger)
    seated: Seated | None = None
    renewed: Seated | None = None
    """What was taken out to go in anew, since the policy treats it in another way now."""
    left: Seated | None = None
    """What was in before: it leaves in order, and its bridge may not have let it go yet."""
    logout: Callable[[], None] | None = None
    """Ends the login to the card that is seated."""
    shown: int = 0
    """The serial of the status that the view shows."""
    counted: int = 0
    """APDUs when the counters were last looked at."""
    happened: int = 0
    """What had happened by then, those that failed and those that were refused included."""
    quiet: int = limits.ACTIVE_LOOKS
    """Looks at the counters since the last new APDU."""

    @property
    def source(self) -> str:
        """Of the card that was given to it, or ""."""
        return self.seated.wanted.source if self.seated else ""

    @property
    def reader(self) -> str:
        """The host reader of that card, or ""."""
        return self.seated.wanted.request.reader if self.seated else ""

    @property
    def has_ended(self) -> bool:
        """By a fault of ours: nobody has stopped it."""
        return self.bridge.status.state is BridgeState.CLOSED

    @property
    def rests(self) -> bool:
        """Nothing has happened since the last look, which found it inactive."""
        return self.quiet > limits.ACTIVE_LOOKS and self._happenings() == self.happened

    def look(self) -> bool:
        """Has the guest talked to the card lately? To be called each time that the counters are looked at."""
        self.happened = self._happenings()
        apdus = self.bridge.apdus
        self.quiet = self.quiet + 1 if apdus == self.counted else 0
        self.counted = apdus
        return self.quiet < limits.ACTIVE_LOOKS

    def _happenings(self) -> int:
        return self.bridge.apdus + self.ledger.happenings


@dataclass(slots=True)
class Seated:
    """The card that was given to a bridge, and why."""

    card: Card
    """As its source opened it; one that is in no reader as a Tenant."""
    wanted: Wanted
    """With `reader` and `atr` as they are."""
    decision: Decision
    """By which it was dressed."""
    now: Decision
    """What the policy says since; it suits the one before."""
