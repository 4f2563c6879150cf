"""Blocking work on other threads: each piece begins at once, and few threads do it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from helpers.waiting import wait_until
from virtcard.errors import Failed
from virtcard.service import threads
from virtcard.service.threads import start


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "virtcard-work"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads linger shortly, and those of other tests are gone."""
    wait_until(lambda: not workers(), 10, "threads of earlier tests have ended")
    monkeypatch.setattr(threads, "LINGER", 0.3)
    yield
    wait_until(lambda: not workers(), 10, "threads of this test have ended")


def test_the_result_is_that_of_the_function() -> None:
    assert start(divmod, 7, 2).result(5) == (3, 1)


def test_an_error_belongs_to_whoever_waits() -> None:
    with pytest.raises(ZeroDivisionError):
        start(divmod, 7, 0).result(5)


def test_without_a_thread_whoever_waits_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(Failed, match="no thread left"):
            start(int, "7").result(5)
    assert start(int, "7").result(5) == 7


def test_one_after_the_other_is_done_by_one_thread() -> None:
    first = start(threading.get_ident).result(5)
    wait_until(lambda: threads._idle, 5, "it has nothing to do")
    assert start(threading.get_ident).result(5) == first


def test_work_that_hangs_keeps_no_other_waiting() -> None:
    gate = threading.Event()
    hung = [start(gate.wait) for _ in range(20)]
    assert start(int, "7").result(5) == 7
    assert len(workers()) >= 20
    gate.set()
    assert all(future.result(5) for future in hung)


def test_a_thread_without_work_ends() -> None:
    start(int).result(5)
    wait_until(lambda: not workers(), 5, "it has ended")
    assert threads._idle == []
    assert start(int, "7").result(5) == 7


def test_no_work_is_lost_between_the_last_moment_of_a_thread_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LINGER", 0.0)
    for number in range(500):
        assert start(int, str(number)).result(5) == number
