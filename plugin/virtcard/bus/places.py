"""How much of something each user may have under way at a time, so that nobody takes it from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from virtcard.errors import Busy


class Places:
    """So many for each user; `refusal` is for one more."""

    def __init__(self, count: int, refusal: Busy) -> None:
        self._count = count
        self._refusal = refusal
        self._taken: Counter[int] = Counter()

    @contextmanager
    def taken(self, uid: int) -> Iterator[None]:
        """One place for as long as this lasts; Busy when the user has all of them."""
        if self._taken[uid] >= self._count:
            raise Busy(self._refusal.message, hint=self._refusal.hint)
        self._taken[uid] += 1
        try:
            yield
        finally:
            self._taken -= Counter({uid: 1})
