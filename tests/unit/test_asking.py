"""Commands that wait for a person: for how many of them one answer counts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from helpers.bus import eventually, run_async
from helpers.errands import Sent
from helpers.fake_card import FakeCard
from virtcard.card.audit import Ledger
from virtcard.errors import NotSent
from virtcard.policy.decide import Decision, Request
from virtcard.policy.model import Action, AskFor, Rule
from virtcard.policy.remember import remember
from virtcard.service.agents import Agents
from virtcard.service.ask import Asker
from virtcard.service.asking import Asking
from virtcard.service.decisions import Decisions
from virtcard.service.grants import Grants
from virtcard.service.question import Choice, Notice, Question
from virtcard.service.seat import Person, Presence, Seat
from virtcard.service.wardrobe import Fitting

ALICE = Person(os.getuid(), "2")
DOMAIN = UUID(int=7)
TEN_MINUTES = Rule(Action.ASK, ask_for=frozenset({AskFor.SIGN}), remember=remember("10m"))


class Agent:
    """Thinks until the test says its next answer."""

    uid = ALICE.uid

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.says: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled: list[str] = []

    async def ask(self, number: str, question: Question) -> object:
        self.asked.append(question)
        return await self.says.get()

    def cancel(self, number: str) -> None:
        self.cancelled.append(number)

    def tell(self, notice: Notice) -> None:
        """Nothing."""


class Scene:
    """Alice is there with her agent, and one card is in several readers of one machine."""

    def __init__(self, directory: Path) -> None:
        seat, agents = Seat(), Agents()
        seat.take(Presence(ALICE))
        agents.add(agent := Agent())
        self.agent = agent
        self.looked = 0
        self.rule = TEN_MINUTES
        self.asking = Asking(Asker(seat, agents, Grants(directory), Decisions(lambda _record: None)), seat, agents)

    def sign(self, slot: int) -> asyncio.Future[bool]:
        """A command of the bridge of this reader, in its own thread: may it sign?"""
        return asyncio.ensure_future(asyncio.to_thread(self.in_command, slot))

    def in_command(self, slot: int) -> bool:
        decision = Decision(Action.ASK, TEN_MINUTES)
        fitting = Fitting(FakeCard(), slot, self._request, decision, lambda: self.rule, Ledger(), lambda _atr: None)
        return self.asking.in_command(fitting, AskFor.SIGN)

    async def both_wait(self) -> list[asyncio.Future[bool]]:
        """Two of them at once; one question is open."""
        waiting = [self.sign(0), self.sign(1)]
        await eventually(lambda: self.looked == 2 and self.agent.asked, "one asks, and the other one waits")
        assert len(self.agent.asked) == 1
        return waiting

    def _request(self) -> Request:
        self.looked += 1
        return Request(DOMAIN, "win11", source="reader:Bank", reader="Bank", atr=b"\x3b\x00")


def in_scene(test: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        with TemporaryDirectory() as directory:
            await test(Scene(Path(directory)))

    run_async(run())


def test_a_yes_for_once_is_for_one_of_two_commands_that_wait_for_it() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.both_wait()
        scene.agent.says.put_nowait("once")
        await eventually(lambda: len(scene.agent.asked) == 2, "the other one asks")
        scene.agent.says.put_nowait("deny")
        assert sorted(await asyncio.gather(*waiting)) == [False, True]

    in_scene(test)


def test_a_yes_for_a_time_is_for_both() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.both_wait()
        scene.agent.says.put_nowait("time")
        assert await asyncio.gather(*waiting) == [True, True]
        assert len(scene.agent.asked) == 1

    in_scene(test)


def test_a_question_goes_from_the_screen_when_nobody_waits_for_its_command_any_more() -> None:
    async def test(scene: Scene) -> None:
        sent = Sent(lambda: bytes([scene.in_command(0)]))
        await eventually(lambda: scene.agent.asked, "it asks")
        sent.give_up()
        await eventually(lambda: scene.agent.cancelled, "the question is gone")
        await asyncio.to_thread(sent.join, 5)
        assert isinstance(sent.error, NotSent)

    in_scene(test)


def test_a_no_is_for_both() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.both_wait()
        scene.agent.says.put_nowait("deny")
        assert await asyncio.gather(*waiting) == [False, False]
        assert len(scene.agent.asked) == 1

    in_scene(test)


def test_what_the_policy_does_not_ask_for_any_more_is_a_yes() -> None:
    async def test(scene: Scene) -> None:
        scene.rule = Rule(Action.ALLOW)
        assert await scene.sign(0)
        assert scene.agent.asked == []

    in_scene(test)


def test_a_question_offers_what_the_policy_lets_a_person_say_now() -> None:
    async def test(scene: Scene) -> None:
        scene.rule = replace(TEN_MINUTES, remember=remember("no"))
        scene.agent.says.put_nowait("time")
        assert not await scene.sign(0)
        assert [question.choices for question in scene.agent.asked] == [(Choice.ONCE,)]

    in_scene(test)
