"""What persons answered, as long as it holds: a yes for a time or a session, and a no for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from virtcard.limits import ANSWERS_MAX, DENY_PAUSE
from virtcard.service.question import Answer, Choice, Key, Question
from virtcard.service.seat import Person

V = TypeVar("V")

Clock = Callable[[], float]


def boot_time() -> float:
    """Seconds that go on while the machine sleeps: a yes for ten minutes is over after a night."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Yes:
    choice: Choice
    person: Person
    until: float


class Answers:
    """Belongs to the event loop's thread, and to one run of the daemon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._yes: dict[Key, _Yes] = {}
        self._no: dict[Key, float] = {}

    def recall(self, question: Question, person: Person) -> Answer | None:
        """What this person's earlier answer says to the question, if the policy still lets it."""
        if self._no.get(question.key, 0.0) > self._clock():
            return Answer(Choice.DENY, "It was refused a moment ago.", person.uid)
        yes = self._yes.get(question.key)
        if yes is None or yes.choice not in question.choices or not self._holds(yes, person):
            return None
        return Answer(yes.choice, user=person.uid)

    def remember(self, question: Question, person: Person, choice: Choice) -> None:
        """Take note of an answer, as far as it holds for later."""
        now = self._clock()
        match choice:
            case Choice.DENY:
                self._yes.pop(question.key, None)
                _put(self._no, question.key, now + DENY_PAUSE)
            case Choice.TIME:
                _put(self._yes, question.key, _Yes(choice, person, now + question.seconds))
            case Choice.SESSION:
                _put(self._yes, question.key, _Yes(choice, person, float("inf")))

    def _holds(self, yes: _Yes, person: Person) -> bool:
        return (yes.person.uid, yes.person.session) == (person.uid, person.session) and yes.until > self._clock()


def _put(answers: dict[Key, V], key: Key, value: V) -> None:
    """As the newest; the oldest goes when there are too many."""
    answers.pop(key, None)
    answers[key] = value
    if len(answers) > ANSWERS_MAX:
        del answers[next(iter(answers))]
