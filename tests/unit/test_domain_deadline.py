"""Blocking calls with a deadline, where there is no event loop."""

from __future__ import annotations

import threading

import pytest

from virtcard.domain import deadline
from virtcard.domain.deadline import in_time
from virtcard.errors import NoSuchDomain, TimedOut


def test_what_it_returns_comes_back() -> None:
    assert in_time(max, 3, 4) == 4


def test_what_it_raises_is_raised() -> None:
    def fail() -> None:
        raise NoSuchDomain("There is none.")

    with pytest.raises(NoSuchDomain, match=r"There is none\."):
        in_time(fail)


def test_a_call_that_hangs_is_given_up_and_its_thread_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "LIBVIRT_DEADLINE", 0.05)
    began, released = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        began.set()
        released.wait(10)

    with pytest.raises(TimedOut, match=r"0\.05 seconds"):
        in_time(hang)
    assert began.wait(10)
    assert threads[0].daemon
    released.set()
    threads[0].join(10)
