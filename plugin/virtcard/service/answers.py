"""What persons answered, as long as it holds: a yes for a time or a session, and a no for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from virtcard.limits import ANSWERS_MAX, DENY_PAUSE
from virtcard.service.question import Answer, Choice, Heard, Key, Question
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


@dataclass(frozen=True, slots=True)
class _No:
    heard: Heard
    until: float


_JUST_NOW: Final = {
    Heard.SAID: "Whoever was asked said no a moment ago, and is asked again after half a minute.",
    Heard.SILENCE: "Nobody answered the same question a moment ago, and it is asked again after half a minute.",
}


class Answers:
    """Belongs to the event loop's thread, and to one run of the daemon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._yes: dict[Key, _Yes] = {}
        self._no: dict[Key, _No] = {}

    def recall(self, question: Question, person: Person) -> Answer | None:
        """What this person's earlier answer says to the question, if the policy still lets it."""
        no = self._no.get(question.key)
        if no is not None and no.until > self._clock():
            return Answer(Choice.DENY, _JUST_NOW[no.heard], person.uid, no.heard)
        yes = self._yes.get(question.key)
        if yes is None or yes.choice not in question.choices or not self._holds(yes, person):
            return None
        return Answer(yes.choice, user=person.uid)

    def forget_silence(self) -> None:
        """Somebody else is there, or looks at the screen again: whom nobody answered may ask once more."""
        self._no = {key: no for key, no in self._no.items() if no.heard is Heard.SAID}

    def remember(self, question: Question, person: Person, choice: Choice, heard: Heard) -> None:
        """Take note of an answer, as far as it holds for later."""
        now = self._clock()
        match choice:
            case Choice.DENY:
                self._yes.pop(question.key, None)
                if heard is not Heard.UNASKED:
                    _put(self._no, question.key, _No(heard, now + DENY_PAUSE))
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
