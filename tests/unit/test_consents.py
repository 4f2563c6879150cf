"""Consents for wishes: who is asked when there is room for a question again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from helpers.bus import eventually, run_async
from virtcard import limits
from virtcard.policy.decide import Request
from virtcard.policy.model import Action, AskFor, Rule
from virtcard.service.api import Caller
from virtcard.service.consents import Consents
from virtcard.service.insertions import Insertions
from virtcard.service.permission import ConsentNeeded
from virtcard.service.question import Answer, Choice, Heard

MACHINES = [UUID(int=number) for number in range(1, 4 * limits.QUESTIONS_MAX)]
RULE = Rule(Action.ASK)


class Scene:
    """Machines that wish a card, looked at when they are woken, and a person who is asked by so many at a time."""

    def __init__(self, directory: Path) -> None:
        self.open: dict[UUID, asyncio.Future[Answer]] = {}
        self.consents = Consents(self._ask, self.look, Insertions(directory))

    def look(self, uuid: UUID) -> None:
        """A pass over this machine, which its wish makes ask."""
        request = Request(uuid, f"vm{uuid.int}", source="card:jane")
        if not self.consents.given(uuid):
            self.consents.want(ConsentNeeded(request, RULE))

    def say(self, uuid: UUID) -> None:
        """Yes to this one."""
        self.open.pop(uuid).set_result(Answer(Choice.ONCE))
        asyncio.get_running_loop().call_soon(self.consents.ask_next)

    async def _ask(self, request: Request, rule: Rule, operation: AskFor, caller: Caller | None) -> Answer:
        assert (rule, operation, caller) == (RULE, AskFor.INSERT, None)
        if len(self.open) >= limits.QUESTIONS_MAX:
            return Answer(Choice.DENY, "Another question has to be answered first.", heard=Heard.UNASKED)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.open[request.uuid] = answer
        return await answer


def test_every_machine_that_had_no_room_for_its_question_is_asked_for_as_others_are_answered(tmp_path: Path) -> None:
    async def test() -> None:
        scene = Scene(tmp_path)
        for uuid in MACHINES:
            scene.look(uuid)
        for left in range(len(MACHINES), 0, -1):
            full = min(left, limits.QUESTIONS_MAX)
            await eventually(lambda full=full: len(scene.open) == full, f"{full} are asked")  # type: ignore[misc]
            scene.say(next(iter(scene.open)))
        await eventually(lambda: all(map(scene.consents.given, MACHINES)), "all have their yes")
        await scene.consents.close()

    run_async(test())
