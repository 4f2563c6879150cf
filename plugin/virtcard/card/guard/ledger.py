"""What is known of the tries of a physical card, shared by all bridges that hold it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from virtcard import limits
from virtcard.card.errand import errand
from virtcard.card.guard.attempts import KEY, Attempt, Reference, by_status
from virtcard.errors import CardError
from virtcard.wire.apdu import Sw

_OK: Final = frozenset({0x90, 0x61})
_NOT_TRIED: Final = frozenset({0x67, 0x68, 0x6B, 0x6C, 0x6D, 0x6E})
"""SW1 of answers that say: the command was not understood, so nothing was compared."""
_NOT_TRIED_WORDS: Final = frozenset({Sw.FUNCTION_NOT_SUPPORTED, Sw.INCORRECT_P1_P2, Sw.REFERENCE_NOT_FOUND})


@dataclass(slots=True)
class _Counter:
    told: int | None = None
    """Tries left, as the card last said; None when nothing is known to be missing."""
    most: int | None = None
    """The most that it ever said."""
    failures: int = 0
    """Since the last success."""
    free: bool | None = None
    """Whether a question costs a try; None when that is not known."""
    asked: bool = False
    """A question was put for trial, and is not repeated."""


class PinLedger:
    """The counters of one card. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._turn = threading.Lock()
        self._counters: dict[Reference, _Counter] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One attempt at a time, of all bridges; CardError when another one takes too long."""
        if not self._turn.acquire(timeout=max(0.0, limits.LEASE_PATIENCE - errand().spent())):
            raise CardError("Another virtual machine is busy with the PIN of this card.", hint="Try again.")
        try:
            yield
        finally:
            self._turn.release()

    def may_ask(self, attempt: Attempt) -> bool:
        """There is a question, and it is known to be free or was not tried yet."""
        with self._mutex:
            counter = self._of(attempt.reference)
            untried = counter.free is None and not counter.asked
            return bool(attempt.question) and (attempt.free or counter.free is True or untried)

    def is_free(self, attempt: Attempt) -> bool:
        """A question is known to cost no try."""
        with self._mutex:
            return attempt.free or self._of(attempt.reference).free is True

    def tell(self, attempt: Attempt, left: int) -> None:
        """The card said how many are left."""
        with self._mutex:
            counter = self._of(attempt.reference)
            counter.told = left
            counter.most = max(left, counter.most or 0)

    def asked(self, attempt: Attempt) -> None:
        """A question was put that may have cost a try."""
        with self._mutex:
            self._of(attempt.reference).asked = True

    def learn(self, attempt: Attempt, *, free: bool) -> None:
        """Whether questions cost a try."""
        with self._mutex:
            self._of(attempt.reference).free = free

    def undiminished(self, attempt: Attempt) -> int:
        """Tries left when the card says that nothing is missing."""
        with self._mutex:
            return self._own(attempt)

    def estimate(self, attempt: Attempt) -> int:
        """Tries left, without the card's help. Careless cards know one PIN by several references, and in several
        applications, so the lowest that was told of others counts, too. Keys are their application's own."""
        with self._mutex:
            told = (one.told for key, one in self._counters.items() if _may_be_one(attempt.reference, key))
            return min([self._own(attempt), *(left for left in told if left is not None)])

    def note(self, attempt: Attempt, response: bytes | None) -> None:
        """The answer to an attempt; None when there was none."""
        with self._mutex:
            counter = self._of(attempt.reference)
            left = None if response is None else by_status(response)
            if left is not None and left >= 0:
                counter.told, counter.most = left, max(left, counter.most or 0)
                counter.failures += not attempt.query
            elif attempt.query or _is_not_tried(response):
                return
            elif response is not None and response[-2] in _OK:
                counter.told, counter.failures = None, 0
            else:
                counter.failures += 1
                counter.told = None if counter.told is None else counter.told - 1

    def left_reader(self) -> None:
        """A person took the card out: a question that might cost a try is tried once more."""
        with self._mutex:
            for counter in self._counters.values():
                counter.asked = False

    def _of(self, reference: Reference) -> _Counter:
        return self._counters.setdefault(reference, _Counter())

    def _own(self, attempt: Attempt) -> int:
        counter = self._of(attempt.reference)
        if counter.told is not None:
            return counter.told
        if counter.most is not None:
            return counter.most - counter.failures
        alike = (one for key, one in self._counters.items() if key.kind == attempt.reference.kind)
        return attempt.assumed - sum(one.failures for one in alike if one.most is None)


def _may_be_one(reference: Reference, other: Reference) -> bool:
    """Both may be counted by one counter."""
    same = reference.application == other.application or reference.kind != KEY
    return same and reference.kind == other.kind


def _is_not_tried(response: bytes | None) -> bool:
    if response is None:
        return False
    return response[-2] in _NOT_TRIED or int.from_bytes(response[-2:], "big") in _NOT_TRIED_WORDS


class PinLedgers:
    """One ledger for each card, by what identifies it: the reader or the software card, and the ATR."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._ledgers: dict[tuple[str, bytes], PinLedger] = {}

    def of(self, place: str, atr: bytes) -> PinLedger:
        """The ledger of the card with this ATR in this place."""
        with self._mutex:
            return self._ledgers.setdefault((place, atr), PinLedger())
