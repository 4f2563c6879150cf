"""Puts on record what the policy decided about cards, whom it had asked, and what they said."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar
from uuid import UUID

from virtcard.limits import RECORD_SUBJECTS_MAX
from virtcard.policy.decide import Request
from virtcard.policy.model import NO_RULE, AskFor, Rule
from virtcard.service.question import Answer, Heard, Question
from virtcard.service.record import Event, Record, Recorder
from virtcard.service.throttle import Throttle

K = TypeVar("K")
V = TypeVar("V")

CARDS_MAX: Final = 64
"""Cards of one machine whose decisions are remembered: a caller may name as many as they like."""

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
    _told: OrderedDict[UUID, OrderedDict[str, Hashable]] = field(default_factory=OrderedDict)
    """By machine and card."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decided(self, request: Request, rule: Rule, why_not: str) -> None:
        """A rule decided about a card; `why_not` is "" when it may go in, or else a sentence."""
        outcome = (str(rule.place), request.user, why_not)
        with self._lock:
            told = self._told.setdefault(request.uuid, OrderedDict())
            is_new = told.get(request.card) != outcome
            _put(told, request.card, outcome, CARDS_MAX)
            _put(self._told, request.uuid, told, RECORD_SUBJECTS_MAX)
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
            if card is None:
                self._told.pop(uuid, None)
            elif uuid in self._told:
                self._told[uuid].pop(card, None)

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


def _put(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """As the newest; the oldest goes when there are too many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def _what(question: Question) -> str:
    return f"{question.domain} may {_WANTS.get(question.operation, 'use {}').format(question.source)}"


def _often(record: Record, times: int) -> Record:
    return replace(record, sentence=f"{record.sentence} ({times} times)")
