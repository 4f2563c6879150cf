"""Asks the person at the machine. Whatever goes wrong on the way is a no."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from virtcard.errors import VirtcardError
from virtcard.limits import AGENT_GRACE, NOTICE_PAUSE, QUESTIONS_MAX
from virtcard.service.agents import Agent, Agents
from virtcard.service.answers import Answers, Clock, boot_time
from virtcard.service.decisions import Decisions
from virtcard.service.grants import Grants
from virtcard.service.question import Answer, Choice, Heard, Key, Notice, NoticeKind, Question
from virtcard.service.seat import Person, Presence, Seat
from virtcard.service.users import in_words, known_name

log = logging.getLogger(__name__)


NO_AGENT: Final = "No agent is there to ask."


@dataclass(slots=True)
class _Open:
    """A question that a person looks at, and how many wait for its answer."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class Asker:
    """Belongs to the event loop's thread. `ask` never raises."""

    def __init__(
        self, seat: Seat, agents: Agents, grants: Grants, decisions: Decisions, clock: Clock = boot_time
    ) -> None:
        self._seat = seat
        self._agents = agents
        self._grants = grants
        self._decisions = decisions
        self._clock = clock
        self._answers = Answers(clock)
        self._open: dict[Key, _Open] = {}
        self._told: dict[tuple[UUID, NoticeKind], float] = {}
        self._grace_ends = clock() + AGENT_GRACE
        self.on_change: Callable[[], None] = lambda: None
        """Called when another person can be asked, or one who could not be before."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when a question is over."""
        self._can_be_asked = self._who_can_be_asked()
        seat.listen(self._look)
        agents.listen(self._look)

    async def ask(self, question: Question) -> Answer:
        """The answer of the person at the machine, or an earlier one that still holds. Equal questions are asked once.

        A caller that is cancelled takes its question along."""
        person = self._seat.presence.person
        if self._seat.presence.locked:
            return self._no(question, "The screen is locked, so nobody can be asked.")
        if person is None:
            return self._no(question, "Nobody is logged in at the machine who could be asked.")
        if Choice.ALWAYS in question.choices and self._grants.holds(question, person.uid):
            return Answer(Choice.ALWAYS, user=person.uid)
        earlier = self._answers.recall(question, person)
        if earlier is not None:
            return earlier
        if question.key not in self._open:
            if why := self._why_not_now(question, person):
                return self._no(question, why)
            self._open[question.key] = _Open(asyncio.create_task(self._put(question, person)))
        return await self._wait(question.key)

    def _who_can_be_asked(self) -> tuple[Presence, bool]:
        """Who is there, and whether by an agent."""
        presence = self._seat.presence
        return presence, presence.person is not None and self._agents.of(presence.person.uid) is not None

    def _look(self) -> None:
        now = self._who_can_be_asked()
        if now != self._can_be_asked:
            self._can_be_asked = now
            self._answers.forget_silence()
            self.on_change()

    def tell(self, notice: Notice) -> None:
        """Tell the person something, but nothing again and again."""
        now = self._clock()
        self._told = {key: until for key, until in self._told.items() if until > now}
        person = self._seat.presence.person
        agent = self._agents.of(person.uid) if person else None
        if agent is not None and (notice.uuid, notice.kind) not in self._told:
            self._told[notice.uuid, notice.kind] = now + NOTICE_PAUSE
            agent.tell(notice)

    def _why_not_now(self, question: Question, person: Person) -> str:
        """One question for each domain, and not too many for anybody, and an agent to put it; "" when it can be put."""
        if self._agents.of(person.uid) is None and self._clock() >= self._grace_ends:
            return NO_AGENT
        if len(self._open) >= QUESTIONS_MAX or any(uuid == question.uuid for uuid, _, _ in self._open):
            return "Another question has to be answered first."
        return ""

    async def _wait(self, key: Key) -> Answer:
        asked = self._open[key]
        asked.waiting += 1
        try:
            return await asyncio.shield(asked.task)
        finally:
            asked.waiting -= 1
            if not asked.waiting:
                asked.task.cancel()
                if self._open.get(key) is asked:
                    del self._open[key]
                    asyncio.get_running_loop().call_soon(self.on_room)

    async def _put(self, question: Question, person: Person) -> Answer:
        """Ask, and remember what was answered."""
        agent = await self._agents.wait_for(person.uid, self._grace_ends - self._clock())
        if agent is None:
            return self._no(question, NO_AGENT)
        name = await known_name(person.uid)
        user = name or in_words(person.uid)
        self._decisions.asked(question, user)
        untrusted_answer, heard, why = await self._answer_of(agent, question, person)
        choice = _checked(untrusted_answer, question)
        self._answers.remember(question, person, choice, heard)
        if choice is Choice.ALWAYS:
            choice = self._grant(question, person, name)
        answer = Answer(
            choice, (why or "Whoever was asked said no.") if choice is Choice.DENY else "", person.uid, heard
        )
        self._decisions.answered(question, user, answer)
        return answer

    def _no(self, question: Question, why: str) -> Answer:
        """Nobody is asked."""
        answer = Answer(Choice.DENY, why, heard=Heard.UNASKED)
        self._decisions.answered(question, "", answer)
        return answer

    def _grant(self, question: Question, person: Person, name: str) -> Choice:
        """Keep an "always"; when that fails, it counts this time alone."""
        try:
            self._grants.write(question, person.uid, name)
        except VirtcardError as error:
            log.error("domain %s: what user %d always allows cannot be kept: %s", question.uuid, person.uid, error)
            return Choice.ONCE
        return Choice.ALWAYS

    async def _answer_of(self, agent: Agent, question: Question, person: Person) -> tuple[object, Heard, str]:
        """What the agent says, or None and why it says nothing."""
        number = uuid4().hex
        asking = asyncio.create_task(agent.ask(number, question))
        try:
            async with asyncio.timeout(question.patience), self._change_from(person) as changed:
                await asyncio.wait({asking, changed}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done() or not self._is_there(person):
                return None, Heard.UNASKED, "The screen was locked, or the person left."
            return asking.result(), Heard.SAID, ""
        except TimeoutError:
            return None, Heard.SILENCE, "Nobody answered in time."
        except VirtcardError as error:
            return None, Heard.SILENCE, f"The agent gave no answer: {error.message}"
        except Exception:
            log.exception("an agent of user %d failed", agent.uid)
            return None, Heard.SILENCE, "The agent gave no answer."
        finally:
            if not asking.done():
                asking.cancel()
                agent.cancel(number)

    def _is_there(self, person: Person) -> bool:
        return self._seat.presence == Presence(person)

    @asynccontextmanager
    async def _change_from(self, person: Person) -> AsyncIterator[asyncio.Task[bool]]:
        """A task that ends when the person is another, or the screen is locked."""
        changed = asyncio.Event()

        def look() -> None:
            if not self._is_there(person):
                changed.set()

        self._seat.listen(look)
        task = asyncio.create_task(changed.wait())
        try:
            look()
            yield task
        finally:
            task.cancel()
            self._seat.unlisten(look)


def _checked(untrusted_answer: object, question: Question) -> Choice:
    """One of the choices that were offered; anything else is a no."""
    return next((choice for choice in question.choices if choice.value == untrusted_answer), Choice.DENY)
