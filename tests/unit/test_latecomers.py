"""A stranger who asks for domains that do not exist costs one look at libvirt in a while."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from virtcard.errors import Disconnected
from virtcard.service.latecomers import Latecomers

GAP = 0.05


def test_a_first_question_is_looked_into_at_once() -> None:
    async def test() -> None:
        looks: list[float] = []
        latecomers = Latecomers(lambda: _look(looks), gap=60)
        async with asyncio.timeout(5):
            await latecomers.take_in()
        assert len(looks) == 1

    asyncio.run(test())


def test_a_thousand_questions_share_the_look_that_begins_after_them() -> None:
    async def test() -> None:
        looks: list[float] = []
        latecomers = Latecomers(lambda: _look(looks), gap=GAP)
        first = asyncio.ensure_future(latecomers.take_in())
        await asyncio.sleep(0)
        asked = asyncio.get_running_loop().time()
        await asyncio.gather(first, *(latecomers.take_in() for _ in range(1000)))
        assert len(looks) == 2
        assert looks[1] >= asked

    asyncio.run(test())


def test_between_two_looks_there_is_a_gap() -> None:
    async def test() -> None:
        looks: list[float] = []
        latecomers = Latecomers(lambda: _look(looks), gap=GAP)
        for _ in range(4):
            await latecomers.take_in()
        assert all(later - earlier >= GAP for earlier, later in pairwise(looks))
        assert len(looks) == 4

    asyncio.run(test())


def test_a_look_that_fails_leaves_the_next_one_possible() -> None:
    async def test() -> None:
        looks: list[float] = []
        fails = [True]

        async def look() -> None:
            await _look(looks)
            if fails.pop() if fails else False:
                raise Disconnected("libvirt is away.")

        latecomers = Latecomers(look, gap=GAP)
        with pytest.raises(Disconnected):
            await latecomers.take_in()
        await latecomers.take_in()
        assert len(looks) == 2

    asyncio.run(test())


async def _look(looks: list[float]) -> None:
    looks.append(asyncio.get_running_loop().time())
    await asyncio.sleep(0.01)
