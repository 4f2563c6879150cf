"""Asking a person: who is asked, what a yes is worth, and everything that is a no."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from helpers.bus import eventually, run_async
from virtcard import limits
from virtcard.errors import Busy, Disconnected
from virtcard.policy.decide import Request
from virtcard.policy.model import Action, AskFor, Place, Rule
from virtcard.policy.remember import remember
from virtcard.service import users
from virtcard.service.agents import Agents
from virtcard.service.ask import Asker
from virtcard.service.decisions import Decisions
from virtcard.service.grants import Grants
from virtcard.service.question import Answer, Choice, Heard, Notice, NoticeKind, Question, question
from virtcard.service.record import Event, Record
from virtcard.service.seat import Person, Presence, Seat

WIN11 = UUID("c9024a97-9b15-46cc-8341-38d75d5d421b")
OTHER = UUID("11111111-2222-3333-4444-555555555555")
ALICE = Person(os.getuid(), "2")
BOB = Person(1001, "5")
HERE = Presence(ALICE)
QUESTION = Question(
    WIN11, "win11", "reader:Yubico", AskFor.INSERT, (Choice.ONCE, Choice.TIME, Choice.SESSION), 600, 5.0
)
ALWAYS = replace(QUESTION, choices=(Choice.ONCE, Choice.ALWAYS), rule=Rule(Action.ASK, remember=remember("always")))


@dataclass(eq=False)
class FakeAgent:
    """Answers as it is told: a word, an error, or None to think for ever."""

    says: object = "once"
    uid: int = ALICE.uid
    asked: list[Question] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)
    number: str = ""

    async def ask(self, number: str, question: Question) -> object:
        self.asked.append(question)
        self.number = number
        if self.says is None:
            await asyncio.Event().wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def cancel(self, number: str) -> None:
        self.cancelled.append(number)

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)


class Scene:
    """An asker with alice at the machine, one agent of hers, and a clock that the test moves."""

    def __init__(self, directory: Path, says: object = "once", presence: Presence = HERE) -> None:
        self.now = 1000.0
        self.directory = directory
        self.seat = Seat()
        self.seat.take(presence)
        self.agents = Agents()
        self.agent = FakeAgent(says)
        self.agents.add(self.agent)
        self.grants = Grants(directory / "policy.d")
        self.records: list[Record] = []
        self.decisions = Decisions(self.records.append)
        self.asker = Asker(self.seat, self.agents, self.grants, self.decisions, lambda: self.now)
        self.now += limits.AGENT_GRACE

    async def ask(self, question: Question = QUESTION) -> Answer:
        return await self.asker.ask(question)

    def asking(self, question: Question = QUESTION) -> asyncio.Task[Answer]:
        return asyncio.create_task(self.ask(question))

    async def open(self, question: Question = QUESTION) -> asyncio.Task[Answer]:
        """A question that the agent has, and does not answer."""
        self.agent.says = None
        task = self.asking(question)
        await eventually(lambda: question in self.agent.asked, "the agent is asked")
        return task


def in_scene(
    test: Callable[[Scene], Coroutine[None, None, None]], *, says: object = "once", presence: Presence = HERE
) -> None:
    async def run() -> None:
        with TemporaryDirectory() as directory:
            await test(Scene(Path(directory), says, presence))

    run_async(run())


@pytest.mark.parametrize("word", ["once", "time", "session"])
def test_a_choice_that_was_offered_is_a_yes(word: str) -> None:
    async def test(scene: Scene) -> None:
        assert await scene.ask() == Answer(Choice(word), user=ALICE.uid)

    in_scene(test, says=word)


@pytest.mark.parametrize("rubbish", ["", "yes", "ONCE", "always", "once\n", 1, True, b"once", ["once"], {}, ()])
def test_whatever_was_not_offered_is_a_no(rubbish: object) -> None:
    async def test(scene: Scene) -> None:
        assert not (await scene.ask()).allowed

    in_scene(test, says=rubbish)


def test_a_deny_is_a_no() -> None:
    async def test(scene: Scene) -> None:
        assert await scene.ask() == Answer(Choice.DENY, "Whoever was asked said no.", ALICE.uid)

    in_scene(test, says="deny")


@pytest.mark.parametrize("failure", [Disconnected("it left."), RuntimeError("a bug"), ValueError()])
def test_an_agent_that_fails_says_no(failure: Exception) -> None:
    async def test(scene: Scene) -> None:
        answer = await scene.ask()
        assert not answer.allowed
        assert answer.why.startswith("The agent gave no answer")

    in_scene(test, says=failure)


@pytest.mark.parametrize(
    ("presence", "why"),
    [
        (Presence(None), "Nobody is logged in at the machine who could be asked."),
        (Presence(None, locked=True), "The screen is locked, so nobody can be asked."),
        (Presence(ALICE, locked=True), "The screen is locked, so nobody can be asked."),
        (Presence(BOB), "No agent is there to ask."),
    ],
)
def test_without_somebody_who_can_be_asked_it_is_a_no(presence: Presence, why: str) -> None:
    async def test(scene: Scene) -> None:
        assert await scene.ask() == Answer(Choice.DENY, why, heard=Heard.UNASKED)
        assert scene.agent.asked == []

    in_scene(test, presence=presence)


def test_silence_is_a_no_and_the_question_is_taken_back() -> None:
    async def test(scene: Scene) -> None:
        answer = await scene.ask(replace(QUESTION, patience=0.05))
        assert answer == Answer(Choice.DENY, "Nobody answered in time.", ALICE.uid, Heard.SILENCE)
        assert scene.agent.cancelled == [scene.agent.number]

    in_scene(test, says=None)


@pytest.mark.parametrize("presence", [Presence(ALICE, locked=True), Presence(BOB), Presence(None)])
def test_a_screen_that_is_locked_meanwhile_and_a_person_who_leaves_are_a_no(presence: Presence) -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.open()
        scene.seat.take(presence)
        assert (await waiting).why == "The screen was locked, or the person left."
        assert scene.agent.cancelled == [scene.agent.number]

    in_scene(test)


def test_a_screen_that_was_locked_for_a_blink_took_the_question_away(caplog: pytest.LogCaptureFixture) -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.open()
        scene.seat.take(Presence(ALICE, locked=True))
        scene.seat.take(HERE)
        assert (await waiting).heard is Heard.UNASKED
        assert caplog.records == []

    in_scene(test)


def test_of_two_agents_the_newer_one_is_asked() -> None:
    async def test(scene: Scene) -> None:
        newer = FakeAgent("session")
        scene.agents.add(newer)
        assert (await scene.ask()).choice is Choice.SESSION
        scene.agents.remove(newer)
        assert (await scene.ask(replace(QUESTION, operation=AskFor.SIGN))).choice is Choice.ONCE

    in_scene(test)


def test_one_user_has_a_bounded_number_of_agents() -> None:
    async def test(scene: Scene) -> None:
        for _ in range(limits.AGENTS_PER_USER - 1):
            scene.agents.add(FakeAgent())
        with pytest.raises(Busy):
            scene.agents.add(FakeAgent())
        scene.agents.add(FakeAgent(uid=BOB.uid))

    in_scene(test)


def test_just_after_the_start_an_agent_is_waited_for() -> None:
    async def test(scene: Scene) -> None:
        scene.agents.remove(scene.agent)
        scene.asker = Asker(scene.seat, scene.agents, scene.grants, scene.decisions, lambda: scene.now)
        waiting = scene.asking()
        await asyncio.sleep(0)
        scene.agents.add(FakeAgent(uid=BOB.uid))
        await asyncio.sleep(0)
        assert not waiting.done()
        scene.agents.add(scene.agent)
        assert (await waiting).allowed

    in_scene(test)


def test_once_is_asked_again() -> None:
    async def test(scene: Scene) -> None:
        assert (await scene.ask()).allowed
        assert (await scene.ask()).allowed
        assert len(scene.agent.asked) == 2

    in_scene(test)


def test_a_yes_for_a_time_lasts_as_long_as_the_policy_says() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.agent.says = "deny"
        scene.now += 599
        assert (await scene.ask()) == Answer(Choice.TIME, user=ALICE.uid)
        scene.now += 2
        assert not (await scene.ask()).allowed

    in_scene(test, says="time")


def test_a_yes_for_a_session_ends_with_it() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.agent.says = "deny"
        scene.now += 1e6
        assert (await scene.ask()).choice is Choice.SESSION
        scene.seat.take(Presence(replace(ALICE, session="9")))
        assert not (await scene.ask()).allowed

    in_scene(test, says="session")


def test_what_one_person_allowed_another_did_not() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.agents.add(bob := FakeAgent("deny", uid=BOB.uid))
        scene.seat.take(Presence(BOB))
        assert not (await scene.ask()).allowed
        assert len(bob.asked) == 1

    in_scene(test, says="session")


@pytest.mark.parametrize(
    "other",
    [
        replace(QUESTION, uuid=OTHER),
        replace(QUESTION, source="card:jane"),
        replace(QUESTION, atr=b"\x3b"),
        replace(QUESTION, operation=AskFor.SIGN),
    ],
)
def test_a_yes_is_for_this_domain_card_and_operation(other: Question) -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.agent.says = "deny"
        assert not (await scene.ask(other)).allowed
        assert (await scene.ask()).allowed

    in_scene(test, says="session")


def test_a_policy_that_offers_less_now_makes_an_earlier_yes_void() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.agent.says = "deny"
        assert not (await scene.ask(replace(QUESTION, choices=(Choice.ONCE,)))).allowed

    in_scene(test, says="session")


def test_a_locked_screen_beats_an_earlier_yes() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.seat.take(Presence(ALICE, locked=True))
        assert not (await scene.ask()).allowed
        scene.seat.take(Presence(ALICE))
        assert (await scene.ask()).allowed
        assert len(scene.agent.asked) == 1

    in_scene(test, says="session")


def test_after_a_no_the_same_is_not_asked_again_for_a_while() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask()
        scene.agent.says = "once"
        for _ in range(100):
            assert (
                await scene.ask()
            ).why == "Whoever was asked said no a moment ago, and is asked again after half a minute."
        assert len(scene.agent.asked) == 1
        scene.now += limits.DENY_PAUSE + 1
        assert (await scene.ask()).allowed

    in_scene(test, says="deny")


def test_who_left_the_question_alone_is_asked_again_when_the_screen_was_unlocked_and_not_before() -> None:
    async def test(scene: Scene) -> None:
        silent = replace(QUESTION, patience=0.05)
        assert (await scene.ask(silent)).heard is Heard.SILENCE
        again = await scene.ask(silent)
        assert (again.why, again.heard) == (
            "Nobody answered the same question a moment ago, and it is asked again after half a minute.",
            Heard.SILENCE,
        )
        assert len(scene.agent.asked) == 1
        scene.agent.says = "once"
        scene.seat.take(Presence(ALICE, locked=True))
        scene.seat.take(HERE)
        assert (await scene.ask(silent)).allowed

    in_scene(test, says=None)


def test_a_question_that_a_lock_took_away_may_be_asked_at_once_when_the_lock_is_gone() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.open()
        scene.seat.take(Presence(ALICE, locked=True))
        assert (await waiting).heard is Heard.UNASKED
        scene.seat.take(HERE)
        scene.agent.says = "once"
        assert (await scene.ask()).allowed

    in_scene(test)


def test_a_change_of_who_can_be_asked_is_told_and_nothing_else() -> None:
    async def test(scene: Scene) -> None:
        told: list[str] = []
        scene.asker.on_change = lambda: told.append("change")
        scene.asker.on_room = lambda: told.append("room")
        scene.agents.add(FakeAgent(uid=BOB.uid))
        scene.agents.add(second := FakeAgent())
        scene.agents.remove(second)
        assert told == []
        scene.agents.remove(scene.agent)
        scene.agents.add(scene.agent)
        scene.seat.take(Presence(ALICE, locked=True))
        scene.seat.take(HERE)
        assert told == ["change"] * 4
        await scene.ask()
        await asyncio.sleep(0)
        assert told[4:] == ["room"]

    in_scene(test)


def test_equal_questions_are_one_question() -> None:
    async def test(scene: Scene) -> None:
        waiting = [await scene.open(), *(scene.asking() for _ in range(20))]
        await asyncio.sleep(0)
        scene.seat.take(Presence(None))
        assert len({await each for each in waiting}) == 1
        assert len(scene.agent.asked) == 1

    in_scene(test)


def test_another_question_of_the_same_domain_is_a_no_while_one_is_open() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.open()
        answer = await scene.ask(replace(QUESTION, operation=AskFor.SIGN))
        assert answer == Answer(Choice.DENY, "Another question has to be answered first.", heard=Heard.UNASKED)
        assert len(scene.agent.asked) == 1
        waiting.cancel()

    in_scene(test)


def test_a_person_has_a_bounded_number_of_questions() -> None:
    async def test(scene: Scene) -> None:
        waiting = [await scene.open(replace(QUESTION, uuid=UUID(int=each))) for each in range(limits.QUESTIONS_MAX)]
        assert not (await scene.ask()).allowed
        assert len(scene.agent.asked) == limits.QUESTIONS_MAX
        for each in waiting:
            each.cancel()

    in_scene(test)


def test_who_is_cancelled_takes_the_question_along_when_nobody_else_waits() -> None:
    async def test(scene: Scene) -> None:
        first, second = await scene.open(), scene.asking()
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        assert scene.agent.cancelled == []
        second.cancel()
        await eventually(lambda: scene.agent.cancelled, "the question is taken back")
        scene.agent.says = "once"
        assert (await scene.ask()).allowed

    in_scene(test)


@pytest.mark.parametrize(
    ("word", "choices", "seconds"),
    [
        ("no", "once", 0),
        ("90s", "once time", 90),
        ("session", "once time session", limits.ASK_TIME),
        ("always", "once time session always", limits.ASK_TIME),
    ],
)
def test_the_rule_bounds_what_a_person_may_answer(word: str, choices: str, seconds: int) -> None:
    rule = Rule(Action.ASK, remember=remember(word))
    request = Request(WIN11, "win11", source="reader:Y*", reader="Yubico 00", atr=b"\x3b\x00")
    made = question(request, rule, AskFor.INSERT)
    assert made.choices == tuple(Choice(each) for each in choices.split())
    assert made.seconds == seconds
    assert (made.source, made.atr, made.patience) == ("reader:Yubico 00", b"\x3b\x00", limits.ASK_PATIENCE)
    assert question(request, rule, AskFor.PIN).patience == limits.ASK_IN_COMMAND_PATIENCE
    assert question(Request(WIN11, "win11", source="card:x", atr=b"\x3b"), rule, AskFor.PIN).atr == b""


def test_always_is_not_offered_for_a_reader_whose_card_nobody_knows() -> None:
    rule = Rule(Action.ASK, remember=remember("always"))
    unknown = Request(WIN11, "win11", source="reader:Y*", reader="Yubico 00")
    assert question(unknown, rule, AskFor.INSERT).choices == (Choice.ONCE, Choice.TIME, Choice.SESSION)
    software = Request(WIN11, "win11", source="card:x")
    assert Choice.ALWAYS in question(software, rule, AskFor.INSERT).choices


def test_always_is_kept_and_not_asked_again() -> None:
    async def test(scene: Scene) -> None:
        assert (await scene.ask(ALWAYS)).choice is Choice.ALWAYS
        scene.agent.says = "deny"
        assert await scene.ask(ALWAYS) == Answer(Choice.ALWAYS, user=ALICE.uid)
        assert len(scene.agent.asked) == 1
        assert not (await scene.ask(replace(ALWAYS, operation=AskFor.SIGN))).allowed
        (grant,) = scene.grants.all()
        scene.grants.revoke(grant.id)
        assert not (await scene.ask(ALWAYS)).allowed

    in_scene(test, says="always")


def test_a_grant_does_not_count_where_the_policy_lets_nobody_say_always() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask(ALWAYS)
        scene.agent.says = "deny"
        assert not (await scene.ask(replace(ALWAYS, choices=(Choice.ONCE,)))).allowed

    in_scene(test, says="always")


def test_a_grant_is_of_its_user_alone_and_no_use_on_a_locked_screen() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask(ALWAYS)
        scene.seat.take(Presence(ALICE, locked=True))
        assert not (await scene.ask(ALWAYS)).allowed
        scene.agents.add(FakeAgent("deny", uid=BOB.uid))
        scene.seat.take(Presence(BOB))
        assert not (await scene.ask(ALWAYS)).allowed

    in_scene(test, says="always")


def test_an_always_that_cannot_be_kept_counts_once() -> None:
    async def test(scene: Scene) -> None:
        (scene.directory / "policy.d").write_text("no directory")
        assert (await scene.ask(ALWAYS)).choice is Choice.ONCE
        assert scene.grants.all() == ()

    in_scene(test, says="always")


def test_who_has_no_name_in_time_holds_up_nobody_and_says_always_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names may come from a directory over a network that is away."""
    answered = threading.Event()

    def wait(uid: int) -> pwd.struct_passwd:
        answered.wait(10)
        raise KeyError(uid)

    monkeypatch.setattr(users, "NAME_PATIENCE", 0.05)
    monkeypatch.setattr(pwd, "getpwuid", wait)

    async def test(scene: Scene) -> None:
        asking = scene.asking(ALWAYS)
        begin = asyncio.get_running_loop().time()
        assert (await asking).choice is Choice.ONCE
        assert asyncio.get_running_loop().time() - begin < 5
        assert scene.grants.all() == ()
        answered.set()

    in_scene(test, says="always")


def test_a_person_is_told_the_same_once_in_a_while() -> None:
    async def test(scene: Scene) -> None:
        notice = Notice(NoticeKind.PIN_GUARD, WIN11, "win11", "reader:Yubico")
        for _ in range(1000):
            scene.asker.tell(notice)
        assert scene.agent.told == [notice]
        scene.asker.tell(replace(notice, kind=NoticeKind.LOCKED_EJECT))
        scene.now += limits.NOTICE_PAUSE
        scene.asker.tell(notice)
        assert len(scene.agent.told) == 3

    in_scene(test)


def test_a_notice_that_nobody_can_be_told_is_lost_quietly() -> None:
    async def test(scene: Scene) -> None:
        scene.seat.take(Presence(None))
        scene.asker.tell(Notice(NoticeKind.PIN_GUARD, WIN11, "win11", "reader:Yubico"))
        assert scene.agent.told == []

    in_scene(test)


def test_the_bounds_leave_room_for_what_surrounds_them() -> None:
    assert limits.ASK_PATIENCE * 2 <= limits.CALL_PATIENCE
    assert limits.ASK_IN_COMMAND_PATIENCE < limits.TRANSMIT_PATIENCE < limits.GUEST_PATIENCE


def on_record(scene: Scene) -> list[tuple[Event, str, str, str]]:
    return [(each.event, each.sentence, each.user, each.rule) for each in scene.records]


def test_who_is_asked_and_what_they_say_is_on_record_with_the_rule() -> None:
    rule = Rule(Action.ASK, place=Place("/etc/virtcard/policy.d/50.toml", 7))

    async def test(scene: Scene) -> None:
        await scene.ask(replace(QUESTION, rule=rule))
        scene.agent.says = "deny"
        await scene.ask(replace(QUESTION, rule=rule, operation=AskFor.SIGN))
        who = pwd.getpwuid(ALICE.uid).pw_name
        assert on_record(scene) == [
            (Event.ASKED, f"{who} is asked whether win11 may have reader:Yubico.", who, str(rule.place)),
            (Event.ANSWERED, f"{who} says that win11 may have reader:Yubico: once.", who, str(rule.place)),
            (Event.ASKED, f"{who} is asked whether win11 may sign with reader:Yubico.", who, str(rule.place)),
            (Event.ANSWERED, f"{who} does not say that win11 may sign with reader:Yubico.", who, str(rule.place)),
        ]
        assert {(each.uuid, each.name, each.source) for each in scene.records} == {(WIN11, "win11", "reader:Yubico")}

    in_scene(test)


def test_a_question_that_nobody_answers_or_hears_is_on_record_with_the_reason() -> None:
    async def test(scene: Scene) -> None:
        await scene.ask(replace(QUESTION, patience=0.05))
        scene.seat.take(Presence(None))
        await scene.ask()
        answered = [each for each in scene.records if each.event is Event.ANSWERED]
        assert [each.reason for each in answered] == [
            "Nobody answered in time.",
            "Nobody is logged in at the machine who could be asked.",
        ]
        assert answered[1].user == ""

    in_scene(test, says=None)


def test_what_is_asked_again_and_again_does_not_fill_the_journal() -> None:
    async def test(scene: Scene) -> None:
        for _ in range(50):
            await scene.ask()
        assert len(scene.records) == 2

    in_scene(test)
