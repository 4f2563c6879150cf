"""What a thread does in a card, for those on the way who may have to wait: since when, and whether for anybody still.

Within a command a bridge's thread may wait for a person, for its turn at a shared card, and for its turn at a PIN. When
it is given up meanwhile, its guest has had an error for an answer. The command must not reach the card then: nobody
would see what came of it, and a PIN has few tries.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from virtcard.errors import NotSent


class Errand:
    """Of one thread, which alone calls `begin` and `woken_by`."""

    __slots__ = ("_begun", "_wake", "given_up")

    def __init__(self) -> None:
        self.given_up = False
        """Nobody waits for what this thread does: it sends no command of it any more."""
        self._begun = math.inf
        self._wake: Callable[[], object] | None = None

    def begin(self) -> None:
        """A call into a card begins, and somebody waits for it: also on a thread that was given up, when there was no
        other to take over."""
        self.given_up = False
        self._begun = time.monotonic()

    def spent(self) -> float:
        """Seconds since then; none in a thread that no bridge has sent."""
        return max(0.0, time.monotonic() - self._begun)

    def give_up(self) -> None:
        """Nobody waits any more. From any thread; waits for nobody."""
        self.given_up = True
        wake = self._wake
        if wake is not None:
            wake()

    def check(self, logout: float = -math.inf) -> None:
        """Just before a command is sent: NotSent when nobody waits for it, or it is older than the last `logout`."""
        if self.given_up:
            raise NotSent("Nobody waited for a command any more, so it was not sent to the card.")
        if self._begun <= logout:
            raise NotSent(
                "The login to the card was ended while a command waited, so it was not sent.",
                hint="Try it again in the machine.",
            )

    @contextmanager
    def woken_by(self, wake: Callable[[], object]) -> Iterator[None]:
        """While this thread waits, `wake` ends that when it is given up; also when it was before."""
        self._wake = wake
        try:
            if self.given_up:
                wake()
            yield
        finally:
            self._wake = None


class _Here(threading.local):
    def __init__(self) -> None:
        self.errand = Errand()


_here = _Here()


def errand() -> Errand:
    """The one of the thread that asks."""
    return _here.errand
