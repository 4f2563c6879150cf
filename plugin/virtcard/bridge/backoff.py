"""How long to wait before the next try: exponential, with full jitter."""

from __future__ import annotations

from random import Random
from typing import Final

from virtcard import limits

_SHARED: Final = Random()  # noqa: S311 (spreads load, guards nothing)
"""One for all: its state takes 2.5 KiB, and a bridge has two waits."""

_DOUBLINGS_MAX: Final = 32
"""Beyond this the maximum holds anyway; it keeps the power of two small."""


class Backoff:
    """Each wait is anywhere between nothing and a ceiling that doubles, so that many waiters do not come at once."""

    def __init__(
        self, *, rng: Random | None = None, first: float = limits.BACKOFF_FIRST, maximum: float = limits.BACKOFF_MAX
    ) -> None:
        self._rng = rng or _SHARED
        self._first = first
        self._maximum = maximum
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait now."""
        ceiling = min(self._maximum, self._first * 2**self._tries)
        self._tries = min(self._tries + 1, _DOUBLINGS_MAX)
        return self._rng.uniform(0, ceiling)

    def reset(self) -> None:
        """It worked: the next wait is a short one again."""
        self._tries = 0
