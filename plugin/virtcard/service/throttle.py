"""Records that others can cause at will are folded: one at once, and then at most one in a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from virtcard.limits import RECORD_PAUSE, RECORD_SUBJECTS_MAX


@dataclass(slots=True)
class _Subject:
    due: float
    held: int = 0


class Throttle:
    """Counts what happened by subject. Belongs to one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._subjects: OrderedDict[Hashable, _Subject] = OrderedDict()

    def happened(self, subject: Hashable, times: int = 1) -> int:
        """How many times to put on record now, those included that were held back; 0 for not now."""
        if not times and subject not in self._subjects:
            return 0
        now = self._clock()
        known = self._subjects.setdefault(subject, _Subject(now))
        known.held += times
        if now < known.due or not known.held:
            return 0
        held, known.held, known.due = known.held, 0, now + RECORD_PAUSE
        self._subjects.move_to_end(subject)
        while len(self._subjects) > RECORD_SUBJECTS_MAX:
            self._subjects.popitem(last=False)
        return held

    def forget(self, subject: Hashable) -> int:
        """The subject is no more; how many times were held back."""
        known = self._subjects.pop(subject, None)
        return known.held if known else 0
