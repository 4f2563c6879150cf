"""Records that others can cause at will are folded."""

from __future__ import annotations

from virtcard.limits import RECORD_PAUSE, RECORD_SUBJECTS_MAX
from virtcard.service.throttle import Throttle


class Clock:
    """Stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_told_at_once_and_the_next_after_the_pause_with_all_between() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    assert [throttle.happened("a") for _ in range(4)] == [1, 0, 0, 0]
    clock.now += RECORD_PAUSE
    assert throttle.happened("a", 2) == 5
    assert throttle.happened("a") == 0


def test_subjects_do_not_hold_each_other_back() -> None:
    throttle = Throttle(Clock())
    assert (throttle.happened("a"), throttle.happened("b")) == (1, 1)


def test_what_was_held_back_is_told_when_the_pause_is_over_though_nothing_new_came() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    throttle.happened("a")
    throttle.happened("a", 3)
    assert throttle.happened("a", 0) == 0
    clock.now += RECORD_PAUSE
    assert throttle.happened("a", 0) == 3
    assert throttle.happened("a", 0) == 0


def test_nothing_of_somebody_unknown_is_nothing() -> None:
    assert Throttle().happened("a", 0) == 0
    assert Throttle().forget("a") == 0


def test_a_subject_that_is_forgotten_tells_what_was_held_back() -> None:
    throttle = Throttle(Clock())
    throttle.happened("a")
    throttle.happened("a", 3)
    assert throttle.forget("a") == 3
    assert throttle.happened("a") == 1


def test_any_number_of_subjects_takes_a_bounded_place() -> None:
    throttle = Throttle(Clock())
    for subject in range(2 * RECORD_SUBJECTS_MAX):
        throttle.happened(subject)
    assert len(throttle._subjects) == RECORD_SUBJECTS_MAX
