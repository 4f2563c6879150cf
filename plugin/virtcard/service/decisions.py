"""Puts on record what the policy decided about cards, whom it had asked, and what they said."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from virtcard.limits import RECORD_SUBJECTS_MAX
from virtcard.policy.decide import Request
from virtcard.policy.model import NO_RULE, AskFor, Rule
from virtcard.service.question import Answer, Heard, Question
from virtcard.service.record import Event, Record, Recorder
from virtcard.service.throttle import Throttle

_WANTS: Final = {
    AskFor.INSERT: "have {}",
    AskFor.PIN: "send a PIN to {}",
    AskFor.SIGN: "sign with {}",
    AskFor.DECRYPT: "decrypt with {}",
}
"""What a machine may do with a card when a person says yes."""


@dataclass(slots=True)
class Decisions:
    """May be used from any thread. Machines are looked at again and again: only what has changed is told."""

    record: Recorder
    throttle: Throttle = field(default_factory=Throttle)
    _told: OrderedDict[tuple[UUID, str], Hashable] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decided(self, request: Request, rule: Rule, why_not: str) -> None:
        """A rule decided about a card; `why_not` is "" when it may go in, or else a sentence."""
        outcome = (str(rule.place), request.user, why_not)
        key = (request.uuid, request.card)
        with self._lock:
            is_new = self._told.get(key) != outcome
            self._told[key] = outcome
            self._told.move_to_end(key)
            if len(self._told) > RECORD_SUBJECTS_MAX:
                self._told.popitem(last=False)
        if is_new:
            sentence = why_not or f"The policy lets {request.name} have {request.card}."
            place = "" if rule is NO_RULE else str(rule.place)
            words = f"{sentence} {f'{place} says so.' if place else 'No rule fits.'}"
            who = Record(
                Event.DECIDED, words, request.uuid, request.name, request.card, place, request.user, reason=why_not
            )
            self._write(who, outcome)

    def forget(self, uuid: UUID, card: str | None = None) -> None:
        """The next decision about a machine, or about one of its cards, is another one, whatever it says."""
        with self._lock:
            for key in [key for key in self._told if key[0] == uuid and card in (None, key[1])]:
                del self._told[key]

    def asked(self, question: Question, user: str) -> None:
        """A person is asked now."""
        self._of(Event.ASKED, question, f"{user} is asked whether {_what(question)}.", user)

    def answered(self, question: Question, user: str, answer: Answer) -> None:
        """What came of it; without a `user` nobody was asked."""
        what = _what(question)
        if answer.allowed:
            sentence = f"{user} says that {what}: {answer.choice}."
        elif not user:
            sentence = f"Nobody was asked whether {what}. {answer.why}"
        elif answer.heard is Heard.SAID:
            sentence = f"{user} does not say that {what}."
        else:
            sentence = f"{user} did not say whether {what}. {answer.why}"
        self._of(Event.ANSWERED, question, sentence, user, answer.why)

    def _of(self, event: Event, question: Question, sentence: str, user: str, reason: str = "") -> None:
        place = "" if question.rule is NO_RULE else str(question.rule.place)
        record = Record(event, sentence, question.uuid, question.domain, question.source, place, user, reason=reason)
        self._write(record, (question.operation, user, reason))

    def _write(self, record: Record, outcome: Hashable) -> None:
        """A guest, and who may insert, can bring it about as often as they like."""
        with self._lock:
            times = self.throttle.happened((record.event, record.uuid, record.source, outcome))
        if times > 1:
            record = _often(record, times)
        if times:
            self.record(record)


def _what(question: Question) -> str:
    return f"{question.domain} may {_WANTS.get(question.operation, 'use {}').format(question.source)}"


def _often(record: Record, times: int) -> Record:
    return replace(record, sentence=f"{record.sentence} ({times} times)")
