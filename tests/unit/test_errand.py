"""What a thread does in a card: since when, and whether anybody waits for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from virtcard.card.errand import Errand, errand
from virtcard.errors import NotSent


def test_each_thread_has_its_own() -> None:
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(errand).result()
        assert pool.submit(errand).result() is other
    assert errand() is errand()
    assert errand() is not other


def test_thread_that_no_bridge_has_sent_may_do_everything() -> None:
    mine = Errand()
    mine.check()
    mine.check(logout=time.monotonic())
    assert mine.spent() == 0


def test_thread_that_was_given_up_sends_nothing_until_its_next_errand() -> None:
    mine = Errand()
    mine.begin()
    mine.give_up()
    for _ in range(2):
        with pytest.raises(NotSent, match="Nobody waited"):
            mine.check()
    mine.begin()
    mine.check()


def test_command_that_began_before_a_logout_is_not_sent_and_the_next_one_is() -> None:
    mine = Errand()
    mine.begin()
    logout = time.monotonic()
    with pytest.raises(NotSent, match="login to the card was ended"):
        mine.check(logout)
    mine.begin()
    mine.check(logout)


def test_time_runs_from_the_beginning_of_a_call() -> None:
    mine = Errand()
    mine.begin()
    threading.Event().wait(0.02)
    assert mine.spent() >= 0.02
    mine.begin()
    assert mine.spent() < 0.02


def test_giving_up_wakes_the_thread_that_waits_and_no_other() -> None:
    mine, woken = Errand(), threading.Event()
    with mine.woken_by(woken.set):
        pass
    mine.give_up()
    assert not woken.is_set()
    with mine.woken_by(woken.set):
        assert woken.is_set(), "also when it was given up before"


def test_thread_is_woken_while_it_waits() -> None:
    mine, waits, woken = Errand(), threading.Event(), threading.Event()

    def wait() -> None:
        with mine.woken_by(woken.set):
            waits.set()
            woken.wait(5)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(5)
    mine.give_up()
    thread.join(5)
    assert not thread.is_alive()
    assert woken.is_set()
