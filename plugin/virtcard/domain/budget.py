"""How often a domain may be redefined: somebody who undoes our change again and again gets the last word."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final
from uuid import UUID

from virtcard.limits import REDEFINES_PER_MINUTE

MINUTE: Final = 60.0


class RedefineBudget:
    """At most `limit` redefines of one domain in a minute of `clock` (seconds, never going back)."""

    def __init__(self, clock: Callable[[], float], limit: int = REDEFINES_PER_MINUTE) -> None:
        self._clock = clock
        self._limit = limit
        self._spent: dict[UUID, deque[float]] = {}

    def exhausted(self, uuid: UUID) -> bool:
        """No redefine is left now."""
        return len(self._recent(uuid)) >= self._limit

    def spend(self, uuid: UUID) -> bool:
        """Take one redefine; False, and nothing taken, when none is left."""
        if self.exhausted(uuid):
            return False
        self._spent.setdefault(uuid, deque()).append(self._clock())
        return True

    def forget(self, uuid: UUID) -> None:
        """Give a domain its whole budget back: it is gone, or a person asked."""
        self._spent.pop(uuid, None)

    def _recent(self, uuid: UUID) -> deque[float]:
        times = self._spent.get(uuid, deque())
        while times and times[0] <= self._clock() - MINUTE:
            times.popleft()
        return times
