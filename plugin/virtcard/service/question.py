"""What a person is asked, and what may be answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

Key = tuple[UUID, str, str]
"""Domain, card and operation: questions with equal keys are one question."""


class Choice(StrEnum):
    """An answer, as agents spell it. `TIME` and `SESSION` hold for the next questions of this kind too."""

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
    operation: str
    """ "insert", "pin", "sign" or "decrypt"."""
    choices: tuple[Choice, ...]
    seconds: int
    """How long a yes for a TIME lasts."""
    patience: float
    """Seconds to wait for the answer."""
    atr: bytes = b""
    """Of the card in a host reader: another card in the same reader is another question."""

    @property
    def key(self) -> Key:
        """Which question it is."""
        return (self.uuid, f"{self.source} {self.atr.hex()}".rstrip(), self.operation)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, and of a no the reason as a sentence. `user` is the uid of who gave it, None when nobody did."""

    choice: Choice
    why: str = ""
    user: int | None = None

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
