"""What is set once, and waited for."""

from __future__ import annotations

import threading

from virtcard.bridge.latch import Latch


def test_waiting_ends_with_the_time_that_it_is_given() -> None:
    assert not Latch().wait(0.01)
    assert not Latch().wait(-1)


def test_what_is_set_is_waited_for_no_more() -> None:
    latch = Latch()
    latch.set()
    latch.set()
    assert latch.wait()
    assert latch.wait(0)


def test_all_that_wait_go_on() -> None:
    latch, gone = Latch(), []
    threads = [threading.Thread(target=lambda: gone.append(latch.wait(10))) for _ in range(5)]
    for thread in threads:
        thread.start()
    latch.set()
    for thread in threads:
        thread.join(10)
    assert gone == [True] * 5
    assert latch.wait(0)
