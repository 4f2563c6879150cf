"""The worker: blocking calls on one thread, each with a deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from virtcard.domain import worker as worker_module
from virtcard.domain.worker import Worker
from virtcard.errors import Busy, Disconnected, NoSuchDomain, TimedOut

PATIENCE = 10.0


def play(scene: Callable[[], Awaitable[None]], *, debug: bool = False) -> None:
    """Run a coroutine, for `PATIENCE` seconds at most."""

    async def bounded() -> None:
        await asyncio.wait_for(scene(), PATIENCE)

    asyncio.run(bounded(), debug=debug)


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds; `play` bounds it."""
    while not condition():
        await asyncio.sleep(0.005)


def refuse(text: str) -> None:
    raise NoSuchDomain(text)


def test_result_and_arguments_pass_through() -> None:
    async def scene() -> None:
        worker = Worker()
        assert await worker.run(divmod, 17, 5) == (3, 2)
        worker.close()

    play(scene, debug=True)


def test_errors_of_the_call_reach_the_caller() -> None:
    async def scene() -> None:
        worker = Worker()
        with pytest.raises(NoSuchDomain, match="gone"):
            await worker.run(refuse, "gone")
        worker.close()

    play(scene)


def test_all_calls_run_on_one_thread_in_order() -> None:
    async def scene() -> None:
        worker = Worker()
        order: list[int] = []

        def call(number: int) -> int:
            order.append(number)
            return threading.get_ident()

        threads = await asyncio.gather(*(worker.run(call, number) for number in range(100)))
        assert order == list(range(100))
        assert len(set(threads)) == 1
        assert threads[0] != threading.get_ident()
        worker.close()

    play(scene)


def test_missed_deadline_is_timed_out_and_the_next_call_works() -> None:
    async def scene() -> None:
        worker, release = Worker(deadline=0.05), threading.Event()
        with pytest.raises(TimedOut, match=r"0\.05 seconds"):
            await worker.run(release.wait)
        assert await worker.run(abs, -1) == 1
        release.set()
        worker.close()

    play(scene)


def test_calls_behind_a_stuck_one_keep_their_own_deadline() -> None:
    async def scene() -> None:
        worker, release = Worker(deadline=0.2), threading.Event()
        stuck = asyncio.ensure_future(worker.run(release.wait))
        behind = [asyncio.ensure_future(worker.run(abs, -number)) for number in range(5)]
        assert await asyncio.gather(*behind) == [0, 1, 2, 3, 4]
        assert isinstance(stuck.exception(), TimedOut)
        release.set()
        worker.close()

    play(scene)


def test_threads_given_up_are_bounded_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LIBVIRT_STUCK_MAX", 2)

    async def scene() -> None:
        worker, release, called = Worker(deadline=0.02), threading.Event(), threading.Event()
        for _ in range(2):
            with pytest.raises(TimedOut):
                await worker.run(release.wait)
        with pytest.raises(TimedOut):
            await worker.run(called.set)
        assert not called.is_set()
        release.set()
        await until(lambda: worker._stuck == 0)
        await worker.run(called.set)
        assert called.is_set()
        worker.close()

    play(scene)


def test_thread_given_up_ends_when_its_call_does() -> None:
    async def scene() -> None:
        worker, release = Worker("h-given-up", deadline=0.02), threading.Event()
        with pytest.raises(TimedOut):
            await worker.run(release.wait)
        release.set()
        await until(lambda: sum(thread.name == "h-given-up" for thread in threading.enumerate()) == 1)
        worker.close()
        await until(lambda: all(thread.name != "h-given-up" for thread in threading.enumerate()))

    play(scene)


def test_too_many_waiting_calls_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LIBVIRT_WAITING_MAX", 3)

    async def scene() -> None:
        worker, release = Worker(), threading.Event()
        running = asyncio.ensure_future(worker.run(release.wait))
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(worker.run(abs, -1)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await worker.run(abs, -1)
        release.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        await running
        worker.close()

    play(scene)


def test_cancelled_caller_leaves_the_line() -> None:
    async def scene() -> None:
        worker, release, called = Worker(), threading.Event(), threading.Event()
        running = asyncio.ensure_future(worker.run(release.wait))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(worker.run(called.set))
        await asyncio.sleep(0)
        waiting.cancel()
        release.set()
        await running
        assert await worker.run(abs, -1) == 1
        assert not called.is_set()
        worker.close()

    play(scene)


def test_cancelled_caller_does_not_let_two_calls_overlap() -> None:
    async def scene() -> None:
        worker, started, release = Worker(), threading.Event(), threading.Event()

        def call() -> None:
            started.set()
            release.wait()

        running = asyncio.ensure_future(worker.run(call))
        await until(started.is_set)
        running.cancel()
        following = asyncio.ensure_future(worker.run(release.is_set))
        await asyncio.sleep(0.02)
        assert not following.done()
        release.set()
        assert await following is True
        worker.close()

    play(scene)


def test_close_refuses_those_that_wait_and_lets_the_running_call_end() -> None:
    async def scene() -> None:
        worker, release = Worker(), threading.Event()
        running = asyncio.ensure_future(worker.run(release.wait))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(worker.run(abs, -1))
        await asyncio.sleep(0)
        worker.close()
        release.set()
        assert await running is True
        with pytest.raises(Disconnected):
            await waiting
        with pytest.raises(Disconnected):
            await worker.run(abs, -1)

    play(scene)


def test_stuck_call_does_not_hold_the_end_of_the_loop() -> None:
    release = threading.Event()

    async def scene() -> None:
        with pytest.raises(TimedOut):
            await Worker("h-left", deadline=0.02).run(release.wait)

    play(scene)
    release.set()
