"""How many APDUs a machine sent, second by second. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = 120
"""What a plot shows."""


@dataclass(slots=True)
class History:
    """Counts of one bridge, looked at once a second."""

    rates: deque[int] = field(default_factory=lambda: deque([0] * SECONDS, SECONDS))
    total: int | None = None

    def add(self, total: int) -> None:
        """The counter now; one that went back is of a new bridge."""
        before = self.total
        self.total = total
        self.rates.append(max(0, total - before) if before is not None else 0)

    @property
    def now(self) -> int:
        """APDUs in the last second."""
        return self.rates[-1]

    @property
    def most(self) -> int:
        """The most in a second that is shown."""
        return max(self.rates)

    def points(self, width: float, height: float) -> list[tuple[float, float]]:
        """The curve in a box, from left to right; y grows downwards, and the most is at the top."""
        top = max(self.most, 4)
        step = width / (SECONDS - 1)
        return [(index * step, height - height * rate / top) for index, rate in enumerate(self.rates)]
