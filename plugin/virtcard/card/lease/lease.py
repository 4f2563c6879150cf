"""One lease: what began it, what it was used for, and when it is over."""

from __future__ import annotations

import math
import time
from typing import Final

from virtcard.card.base import SharedCard
from virtcard.card.lease.rules import LeaseTimes
from virtcard.card.lease.watch import Watch
from virtcard.errors import CardWasReset

BEGIN_TRIES: Final = 4
"""Times that other programs may reset the card while we take it."""


class Lease:
    """`begin` and `undo` are the clerk's; the rest is for whoever has the lock of the card (`leased`)."""

    __slots__ = ("_card", "alone", "since", "used", "was_reset", "watch")

    def __init__(self, card: SharedCard, *, alone: bool = False) -> None:
        self._card = card
        self.alone = alone
        """From power on to power off: it does not end by time."""
        self.was_reset = False
        """Somebody else reset the card before."""
        self.watch = Watch()
        self.since = self.used = math.inf

    def start(self) -> None:
        """It is ours from now on, and nobody is logged in."""
        self.watch.was_reset()
        self.since = self.used = time.monotonic()

    def begin(self) -> None:
        """Take the card. Whoever had it before may have reset it."""
        for _ in range(BEGIN_TRIES - 1):
            try:
                self._card.begin()
            except CardWasReset:
                self.was_reset = True
            else:
                return
        self._card.begin()

    def undo(self) -> None:
        """It began too late, and nobody uses it."""
        self._card.end(reset=False)

    def is_ending(self, logout: float) -> bool:
        """The machine's last logout came within it."""
        return logout >= self.since

    def over(self, times: LeaseTimes, logout: float, *, waited_for: bool) -> float:
        """When it ends by itself; others of ours may be `waited_for`."""
        if self.alone:
            return math.inf
        if self.is_ending(logout):
            return 0.0
        if self.watch.open:
            return min(self.used + times.idle_logged_in, self.since + times.longest)
        if self.watch.login:
            return min(self.used + times.idle_logged_in, self.since + times.last_call)
        return min(self.used + times.idle, self.since + (times.idle if waited_for else times.last_call))
