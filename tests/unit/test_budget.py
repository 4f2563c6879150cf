"""A domain is redefined a few times a minute at most."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from virtcard.domain.budget import MINUTE, RedefineBudget
from virtcard.limits import REDEFINES_PER_MINUTE

ONE = UUID(int=1)
TWO = UUID(int=2)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_sixth_redefine_in_a_minute_is_refused() -> None:
    budget = RedefineBudget(Clock())
    assert [budget.spend(ONE) for _ in range(REDEFINES_PER_MINUTE + 1)] == [True] * REDEFINES_PER_MINUTE + [False]
    assert budget.exhausted(ONE)


def test_each_domain_has_its_own() -> None:
    budget = RedefineBudget(Clock(), 1)
    assert budget.spend(ONE)
    assert budget.spend(TWO)
    assert not budget.spend(ONE)


def test_a_minute_later_it_is_there_again() -> None:
    clock = Clock()
    budget = RedefineBudget(clock, 1)
    budget.spend(ONE)
    clock.now += MINUTE - 0.001
    assert budget.exhausted(ONE)
    clock.now += 0.001
    assert not budget.exhausted(ONE)
    assert budget.spend(ONE)


def test_asking_spends_nothing() -> None:
    budget = RedefineBudget(Clock(), 1)
    assert not budget.exhausted(ONE)
    assert not budget.exhausted(ONE)
    assert budget.spend(ONE)


def test_a_forgotten_domain_starts_anew() -> None:
    budget = RedefineBudget(Clock(), 1)
    budget.spend(ONE)
    budget.forget(ONE)
    budget.forget(TWO)
    assert budget.spend(ONE)


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5))
def test_no_minute_ever_sees_more_than_the_limit(steps: list[float], limit: int) -> None:
    clock = Clock()
    budget = RedefineBudget(clock, limit)
    spent = []
    for step in steps:
        clock.now += step
        if budget.spend(ONE):
            spent.append(clock.now)
    for time in spent:
        assert sum(time <= other < time + MINUTE for other in spent) <= limit
