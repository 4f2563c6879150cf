"""The agent without a bus: what it takes, what a person reads, and when a yes is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from helpers.bus import run_async
from virtcard.agent import words
from virtcard.agent.agent import Agent, NoLock
from virtcard.agent.asked import NAME_MAX, Choice, Notice, Question, harmless, notice, question
from virtcard.errors import Disconnected, InvalidArgument

VALUES: dict[str, Any] = {
    "id": "1",
    "domain": "win11",
    "uuid": "c9024a97-9b15-46cc-8341-38d75d5d421b",
    "source": "reader:Yubico",
    "operation": "insert",
    "choices": ["once", "time", "deny"],
    "seconds": 600,
    "patience": 5,
}


def test_a_question_is_taken_with_the_choices_that_are_known() -> None:
    taken = question(VALUES | {"choices": ["perhaps", "time", "once"], "later": True})
    assert taken == Question("win11", "reader:Yubico", "insert", (Choice.DENY, Choice.ONCE, Choice.TIME), 600, 5)


@pytest.mark.parametrize("key", ["domain", "source", "operation", "choices", "seconds", "patience"])
@pytest.mark.parametrize("value", [None, 1.5, {}])
def test_a_question_that_lacks_something_is_none(key: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=key):
        question(VALUES | {key: value})


@pytest.mark.parametrize("choices", [[], ["deny"], ["perhaps", 1]])
def test_a_question_without_a_yes_is_none(choices: list[object]) -> None:
    with pytest.raises(InvalidArgument, match="no way to say yes"):
        question(VALUES | {"choices": choices})


def test_a_notice_that_lacks_something_is_none() -> None:
    assert notice({"kind": "pin-guard", "domain": "a", "source": "b"}) == Notice("pin-guard", "a", "b")
    with pytest.raises(InvalidArgument):
        notice({"kind": "pin-guard", "domain": "a"})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("win11", "win11"),
        ("Büro 7", "Büro 7"),
        ("\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        ("a\nb\r\tc", "a\ufffdb\ufffd\ufffdc"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("a\u200bb\u2066c", "a\ufffdb\ufffdc"),
        ('x" wants nothing. "', "x' wants nothing. '"),
        ("x" * 500, "x" * (NAME_MAX - 1) + "…"),
        ("", ""),
    ],
)
def test_a_name_is_made_harmless(name: str, shown: str) -> None:
    assert harmless(name) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (90, "90 seconds"), (60, "1 minute"), (600, "10 minutes"), (7200, "2 hours"), (86400, "1 day")],
)
def test_a_time_is_told_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_notice_that_is_not_known_is_not_told() -> None:
    assert words.told(Notice("later", "win11", "card:x")) is None


class FakeFront:
    """Answers as it is told."""

    def __init__(self, answer: Choice | Exception | None) -> None:
        self._answer = answer
        self.withdrawn = False

    async def ask(self, question: Question) -> Choice:
        if isinstance(self._answer, Exception):
            raise self._answer
        if self._answer is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.withdrawn = True
        assert isinstance(self._answer, Choice)
        return self._answer

    async def tell(self, notice: Notice) -> None:
        raise Disconnected("nobody is there")


class FakeLock:
    """Locked at the looks that are named."""

    def __init__(self, *locked_at: int) -> None:
        self._locked_at = locked_at
        self._looks = 0

    async def is_locked(self) -> bool:
        self._looks += 1
        return self._looks in self._locked_at

    @asynccontextmanager
    async def lock_changes(self) -> AsyncIterator[asyncio.Event]:
        yield asyncio.Event()


def test_a_yes_is_passed_on() -> None:
    assert run_async(Agent(FakeFront(Choice.TIME), NoLock()).ask(VALUES)) == "time"


def test_a_front_that_fails_says_no() -> None:
    assert run_async(Agent(FakeFront(Disconnected("gone")), NoLock()).ask(VALUES)) == "deny"


def test_a_person_who_does_not_answer_says_no_and_the_question_disappears() -> None:
    front = FakeFront(None)
    assert run_async(Agent(front, NoLock()).ask(VALUES | {"patience": 0})) == "deny"
    assert front.withdrawn


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_yes_on_a_screen_that_is_locked_before_during_or_after_is_a_no(look: int) -> None:
    assert run_async(Agent(FakeFront(Choice.ONCE), FakeLock(look)).ask(VALUES)) == "deny"


def test_a_notice_that_cannot_be_shown_is_lost_quietly() -> None:
    async def test() -> None:
        agent = Agent(FakeFront(None), NoLock())
        agent.tell({"kind": "pin-guard", "domain": "a", "source": "b"})
        await asyncio.gather(*agent._tellings)

    run_async(test())
