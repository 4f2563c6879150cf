"""How long reconnects wait."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from virtcard import limits
from virtcard.bridge.backoff import Backoff


class Longest(Random):
    """Always the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Shortest(Random):
    """Always the shortest wait."""

    def uniform(self, a: float, b: float) -> float:
        return a


def test_ceiling_doubles_up_to_the_maximum() -> None:
    backoff = Backoff(rng=Longest(), first=0.1, maximum=1.0)
    assert [backoff.next() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_jitter_is_full() -> None:
    backoff = Backoff(rng=Shortest())
    assert [backoff.next() for _ in range(3)] == [0, 0, 0]


def test_success_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(rng=Longest())
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == limits.BACKOFF_FIRST


@given(tries=st.integers(1, 2000), seed=st.integers())
def test_no_wait_is_longer_than_the_maximum(tries: int, seed: int) -> None:
    backoff = Backoff(rng=Random(seed))
    assert all(0 <= backoff.next() <= limits.BACKOFF_MAX for _ in range(tries))
