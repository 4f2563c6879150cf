"""One at a time for each domain."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from virtcard.errors import Failed
from virtcard.service.turns import Turns


def test_wake_ups_during_a_pass_fold_into_one_more() -> None:
    async def scenario() -> int:
        passes = 0
        running = asyncio.Event()
        go_on = asyncio.Event()

        async def reconcile(_uuid: UUID) -> None:
            nonlocal passes
            passes += 1
            running.set()
            await go_on.wait()

        turns = Turns(reconcile)
        uuid = uuid4()
        turns.wake(uuid)
        await running.wait()
        for _ in range(50):
            turns.wake(uuid)
        go_on.set()
        async with turns.turn(uuid):
            pass
        await asyncio.sleep(0.01)
        async with turns.turn(uuid):
            pass
        return passes

    assert asyncio.run(scenario()) == 2


def test_a_turn_keeps_others_of_the_same_domain_out_and_lets_other_domains_in() -> None:
    async def scenario() -> list[str]:
        order: list[str] = []

        async def reconcile(uuid: UUID) -> None:
            order.append("same" if uuid == mine else "other")

        mine, other = uuid4(), uuid4()
        turns = Turns(reconcile)
        async with turns.turn(mine):
            turns.wake(mine)
            turns.wake(other)
            await asyncio.sleep(0.01)
            order.append("leave")
        await asyncio.sleep(0.01)
        return order

    assert asyncio.run(scenario()) == ["other", "leave", "same"]


def test_a_later_wake_up_does_not_put_off_an_earlier_one() -> None:
    async def scenario() -> bool:
        done = asyncio.Event()

        async def reconcile(_uuid: UUID) -> None:
            done.set()

        turns = Turns(reconcile)
        uuid = uuid4()
        turns.wake(uuid, 60)
        turns.wake(uuid, 0)
        turns.wake(uuid, 60)
        await asyncio.wait_for(done.wait(), 5)
        return done.is_set()

    assert asyncio.run(scenario())


@pytest.mark.parametrize("error", [Failed("libvirt is away."), ValueError("a bug")])
def test_a_pass_that_fails_does_not_end_the_next(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> int:
        passes = 0

        async def reconcile(_uuid: UUID) -> None:
            nonlocal passes
            passes += 1
            if passes == 1:
                raise error

        turns = Turns(reconcile)
        for _ in range(2):
            turns.wake(uuid)
            await asyncio.sleep(0.01)
        return passes

    uuid = uuid4()
    assert asyncio.run(scenario()) == 2
    assert str(uuid) in caplog.text


def test_nothing_is_kept_of_a_domain_whose_turns_are_over() -> None:
    async def scenario() -> int:
        async def reconcile(_uuid: UUID) -> None:
            return None

        turns = Turns(reconcile)
        for _ in range(100):
            async with turns.turn(uuid4()):
                pass
        return turns.held

    assert asyncio.run(scenario()) == 0


def test_wake_ups_fold_while_a_pass_waits_for_its_turn() -> None:
    async def scenario() -> int:
        passes = 0

        async def reconcile(_uuid: UUID) -> None:
            nonlocal passes
            passes += 1

        turns = Turns(reconcile)
        uuid = uuid4()
        async with turns.turn(uuid):
            for _ in range(10):
                turns.wake(uuid)
                await asyncio.sleep(0.001)
        async with turns.turn(uuid):
            pass
        await asyncio.sleep(0.01)
        return passes

    assert asyncio.run(scenario()) == 1


def test_closed_turns_end_their_passes_and_take_no_more() -> None:
    async def scenario() -> list[str]:
        seen: list[str] = []
        running = asyncio.Event()

        async def reconcile(_uuid: UUID) -> None:
            running.set()
            try:
                await asyncio.sleep(60)
            finally:
                seen.append("ended")

        turns = Turns(reconcile)
        turns.wake(uuid4())
        turns.wake(uuid4(), 0.001)
        await running.wait()
        await turns.close()
        turns.wake(uuid4())
        await asyncio.sleep(0.01)
        return seen

    assert set(asyncio.run(scenario())) == {"ended"}


def test_a_turn_that_is_held_or_was_had_shows() -> None:
    async def scenario() -> None:
        async def reconcile(_uuid: UUID) -> None:
            return None

        turns = Turns(reconcile)
        before, during, after = uuid4(), uuid4(), uuid4()
        async with turns.turn(before):
            pass
        async with turns.turn(during):
            turns.forget_touched()
        async with turns.turn(after):
            pass
        assert [turns.touched(uuid) for uuid in (before, during, after)] == [False, True, True]

    asyncio.run(scenario())
