"""What a person is asked, and what may be answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from virtcard.limits import ASK_IN_COMMAND_PATIENCE, ASK_PATIENCE, ASK_TIME
from virtcard.policy.decide import Request
from virtcard.policy.model import NO_RULE, AskFor, Rule
from virtcard.policy.remember import ALWAYS, NOT_REMEMBERED, SESSION, Remember

Key = tuple[UUID, str, str]
"""Domain, card and operation: questions with equal keys are one question."""


class Choice(StrEnum):
    """An answer, as agents spell it. `ONCE` is for one insertion or one command; the others that are a yes hold for
    the next questions of this kind too."""

    ONCE = "once"
    TIME = "time"
    SESSION = "session"
    ALWAYS = "always"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Question:
    """May this domain do this with this card? `choices` are the ways to say yes that the policy leaves to a person."""

    uuid: UUID
    domain: str
    """The domain's name."""
    source: str
    """The card, never a glob."""
    operation: AskFor
    choices: tuple[Choice, ...]
    seconds: int
    """How long a yes for a TIME lasts."""
    patience: float
    """Seconds to wait for the answer."""
    atr: bytes = b""
    """Of the card in a host reader: another card in the same reader is another question."""
    rule: Rule = NO_RULE
    """The rule that makes us ask."""

    @property
    def key(self) -> Key:
        """Which question it is."""
        return (self.uuid, f"{self.source} {self.atr.hex()}".rstrip(), self.operation)


def question(request: Request, rule: Rule, operation: AskFor) -> Question:
    """What to ask when this rule says `ask` to this request: a guest that waits for its command waits less long.

    "Always" is for a card that is known, and not for whatever is in a reader one day."""
    choices, seconds = offered(rule.remember)
    if request.reader and not request.atr:
        choices = tuple(choice for choice in choices if choice is not Choice.ALWAYS)
    return Question(
        request.uuid,
        request.name,
        request.card,
        operation,
        choices,
        seconds,
        ASK_PATIENCE if operation is AskFor.INSERT else ASK_IN_COMMAND_PATIENCE,
        request.atr if request.reader else b"",
        rule,
    )


def offered(remember: Remember) -> tuple[tuple[Choice, ...], int]:
    """The ways to say yes up to the longest that a rule lets a person choose, and how long a time is."""
    if remember == NOT_REMEMBERED:
        return (Choice.ONCE,), 0
    if remember == SESSION:
        return (Choice.ONCE, Choice.TIME, Choice.SESSION), ASK_TIME
    if remember == ALWAYS:
        return (Choice.ONCE, Choice.TIME, Choice.SESSION, Choice.ALWAYS), ASK_TIME
    return (Choice.ONCE, Choice.TIME), remember.seconds


class Heard(StrEnum):
    """What an answer is worth later."""

    SAID = "said"
    """A person gave it, now or before."""
    SILENCE = "silence"
    """A person was asked, and gave none that came here."""
    UNASKED = "unasked"
    """Nobody was asked, or the person left with the question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, and of a no the reason as a sentence. `user` is the uid of who gave it, None when nobody did."""

    choice: Choice
    why: str = ""
    user: int | None = None
    heard: Heard = Heard.SAID

    @property
    def allowed(self) -> bool:
        """It is a yes."""
        return self.choice is not Choice.DENY


class NoticeKind(StrEnum):
    """What happened. More words may come."""

    PIN_GUARD = "pin-guard"
    LOCKED_EJECT = "locked-eject"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person is told without a question."""

    kind: NoticeKind
    uuid: UUID
    domain: str
    source: str
