"""The queue of one reader: order, pause, patience, and the clerk who comes and goes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from helpers.shared_card import QUICK
from helpers.waiting import wait_until
from virtcard.card.lease.office import LeaseOffice, LeaseOffices
from virtcard.errors import Busy, CardAbsent, CardError


class Someone:
    """Takes turns; `ends` is when the turn is due."""

    def __init__(self, name: str, office: LeaseOffice, order: list[str]) -> None:
        self.name = name
        self.office = office
        self.order = order
        self.ends = math.inf
        self.expired = 0
        self.busy = False
        self.undone = threading.Event()

    def due(self) -> float:
        return self.ends

    def expire(self) -> bool:
        self.expired += 1
        if not self.busy:
            self.ends = math.inf
            self.office.release(self)
        return not self.busy

    def take(self, begin: Callable[[], None] = lambda: None, check: Callable[[], None] = lambda: None) -> None:
        self.office.take(self, begin, self.undone.set, check)
        self.order.append(self.name)


@pytest.fixture
def office() -> LeaseOffice:
    return LeaseOffice("Reader", QUICK)


@pytest.fixture
def order() -> list[str]:
    """Names, as they had their turns."""
    return []


@pytest.fixture
def people(office: LeaseOffice, order: list[str]) -> Iterator[Callable[[str], Someone]]:
    yield lambda name: Someone(name, office, order)
    wait_until(lambda: not clerks(), 5, "the clerk goes home")


def clerks() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "virtcard-lease"]


def waiting(office: LeaseOffice, *people: Someone) -> list[threading.Thread]:
    """They come one after the other, and wait."""
    threads = []
    for count, one in enumerate(people, 1):
        threads.append(threading.Thread(target=one.take))
        threads[-1].start()
        wait_until(lambda count=count: len(office._queue) == count, 5, f"{one.name} waits")  # type: ignore[misc]
    return threads


def test_first_come_first_served(office: LeaseOffice, people: Callable[[str], Someone], order: list[str]) -> None:
    first, second, third = people("first"), people("second"), people("third")
    first.take()
    threads = waiting(office, second, third)
    assert office.waiting
    for one in (first, second, third):
        wait_until(lambda one=one: order[-1] == one.name, 5, f"it is the turn of {one.name}")  # type: ignore[misc]
        office.release(one)
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "third"]
    assert not office.waiting


def test_without_a_thread_for_the_clerk_a_turn_is_refused_and_the_next_one_is_had(
    office: LeaseOffice, people: Callable[[str], Someone], order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, left = people("one"), threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(CardError, match="no thread left"):
            one.take()
        office.later(left.set)
    assert office.waiting, "what needs no answer is done later"
    one.take()
    assert order == ["one"]
    office.release(one)
    assert left.wait(5)


def none_left(_thread: threading.Thread) -> None:
    """The system has no thread left."""
    raise RuntimeError("can't start new thread")


def test_nobody_has_a_turn_during_the_pause(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one = people("one")
    one.take()
    office.release(one)
    released = time.monotonic()
    one.take()
    assert time.monotonic() - released >= QUICK.pause
    office.release(one)


def test_turn_that_is_due_ends(office: LeaseOffice, people: Callable[[str], Someone], order: list[str]) -> None:
    one, other = people("one"), people("other")
    one.take()
    one.ends = time.monotonic() + 0.05
    office.poke()
    other.take()
    assert (one.expired, order) == (1, ["one", "other"])
    office.release(other)


def test_turn_that_cannot_end_yet_is_looked_at_again(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one = people("one")
    one.busy = True
    one.take()
    one.ends = 0.0
    office.poke()
    wait_until(lambda: one.expired > 2, 5, "the clerk looks again")
    one.busy = False


def test_who_waits_too_long_hears_of_it(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one, other = people("one"), people("other")
    one.take()
    began = time.monotonic()
    with pytest.raises(CardError, match="in use elsewhere"):
        other.take()
    assert QUICK.patience <= time.monotonic() - began < QUICK.patience + 2
    assert not office.waiting
    office.release(one)


def test_who_waited_in_vain_is_the_next_to_come_first(
    office: LeaseOffice, people: Callable[[str], Someone], order: list[str]
) -> None:
    one, early, late = people("one"), people("early"), people("late")
    one.take()
    with pytest.raises(CardError):
        early.take()
    threads = waiting(office, late, early)
    office.release(one)
    for name, holder in (("early", early), ("late", late)):
        wait_until(lambda name=name: order[-1] == name, 5, f"it is the turn of {name}")  # type: ignore[misc]
        office.release(holder)
    for thread in threads:
        thread.join()


def test_one_that_blocks_in_begin_is_waited_for_no_longer_than_others(
    office: LeaseOffice, people: Callable[[str], Someone], order: list[str]
) -> None:
    """A host program has the card in a transaction: who is inside `begin` gives up in time, and the next one comes."""
    stuck, other = people("stuck"), people("other")
    gate = threading.Event()
    with pytest.raises(CardError, match="in use elsewhere"):
        stuck.take(lambda: assert_opened(gate))
    thread = threading.Thread(target=other.take)
    thread.start()
    gate.set()
    thread.join(5)
    assert order == ["other"]
    assert stuck.undone.is_set()
    office.release(other)


def assert_opened(gate: threading.Event) -> None:
    assert gate.wait(30)


def test_error_of_begin_is_the_askers_own(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one, other = people("one"), people("other")

    def fail() -> None:
        raise CardAbsent("There is no card.")

    with pytest.raises(CardAbsent):
        one.take(fail)
    other.take()
    office.release(other)


def test_fault_of_our_own_does_not_end_the_clerk(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one = people("one")
    with pytest.raises(CardError, match="unexpected"):
        one.take(lambda: assert_opened(None))  # type: ignore[arg-type]
    one.take()
    office.release(one)


def test_end_of_a_turn_that_fails_unexpectedly_leaves_the_turn_to_others(
    office: LeaseOffice,
    people: Callable[[str], Someone],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = people("one"), people("other")
    monkeypatch.setattr(one, "expire", lambda: one.busy / 0)
    one.take()
    one.ends = 0.0
    other.take()
    assert "the end of a lease failed unexpectedly" in caplog.text
    assert len(clerks()) == 1, "it is the same one"
    office.release(other)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_clerk_that_is_lost_is_replaced_by_whoever_comes_next(
    office: LeaseOffice, people: Callable[[str], Someone], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = people("one"), people("other")
    one.take()
    with monkeypatch.context() as broken:
        broken.setattr(one, "due", lambda: one.busy / 0)
        office.poke()
        wait_until(lambda: not clerks(), 5, "the clerk is lost")
    one.ends = 0.0
    other.take()
    assert one.expired == 1
    office.release(other)


def test_work_for_later_waits_for_the_turn_and_takes_none(
    office: LeaseOffice, people: Callable[[str], Someone], order: list[str]
) -> None:
    one, other = people("one"), people("other")
    one.take()
    office.later(lambda: order.append("work"))
    threads = waiting_behind_work(office, other)
    assert order == ["one"]
    office.release(one)
    threads.join()
    assert order == ["one", "work", "other"]
    office.release(other)


def waiting_behind_work(office: LeaseOffice, other: Someone) -> threading.Thread:
    thread = threading.Thread(target=other.take)
    thread.start()
    wait_until(lambda: len(office._queue) == 2, 5, "it waits behind the work")
    return thread


def test_clerk_lives_while_there_is_something_to_do(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one = people("one")
    assert not clerks()
    one.take()
    assert len(clerks()) == 1
    office.release(one)
    wait_until(lambda: not clerks(), 5, "the clerk goes home")
    one.take()
    assert len(clerks()) == 1
    office.release(one)


def test_card_that_is_for_one_alone_is_busy_for_others(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one, other = people("one"), people("other")
    office.join(one, exclusive=True)
    with pytest.raises(Busy, match="has it for itself"):
        office.join(other, exclusive=False)
    office.leave(one)
    office.join(other, exclusive=False)
    with pytest.raises(Busy, match="shall have it for itself"):
        office.check(one, exclusive=True)
    office.check(other, exclusive=True)
    office.leave(other)


def test_leaving_does_not_end_another_ones_exclusive_use(office: LeaseOffice, people: Callable[[str], Someone]) -> None:
    one, other = people("one"), people("other")
    office.join(one, exclusive=True)
    office.leave(other)
    with pytest.raises(Busy):
        office.check(other, exclusive=False)


def test_each_reader_has_one_office() -> None:
    offices = LeaseOffices(QUICK)
    assert offices.of("one") is offices.of("one")
    assert offices.of("one") is not offices.of("two")
    assert offices.of("one").times is QUICK
