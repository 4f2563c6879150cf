"""What virtcardd asks and tells, taken from the bus: checked, and with every text made harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from virtcard.errors import InvalidArgument

T = TypeVar("T")

NAME_MAX: Final = 80
"""Characters of a name that are shown: enough to tell machines apart, too few to tell stories."""


class Choice(StrEnum):
    """The answers that this agent knows, in the order in which it offers them: of many, GNOME shows the first three."""

    DENY = "deny"
    ONCE = "once"
    ALWAYS = "always"
    SESSION = "session"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Question:
    """May this domain do this with this card?"""

    domain: str
    source: str
    operation: str
    choices: tuple[Choice, ...]
    """With DENY, and at least one yes."""
    seconds: int
    patience: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened."""

    kind: str
    domain: str
    source: str


def question(untrusted: Mapping[str, Any]) -> Question:
    """A question from its dictionary; InvalidArgument when it is none that can be asked."""
    words = _value(untrusted, "choices", list)
    choices = tuple(choice for choice in Choice if choice is Choice.DENY or choice in words)
    if len(choices) < 2:
        raise InvalidArgument("There is no way to say yes to the question.")
    return Question(
        harmless(_value(untrusted, "domain", str)),
        harmless(_value(untrusted, "source", str)),
        harmless(_value(untrusted, "operation", str)),
        choices,
        _value(untrusted, "seconds", int),
        _value(untrusted, "patience", int),
    )


def notice(untrusted: Mapping[str, Any]) -> Notice:
    """A notice from its dictionary; InvalidArgument when it is none."""
    kind, domain, source = (harmless(_value(untrusted, key, str)) for key in ("kind", "domain", "source"))
    return Notice(kind, domain, source)


def harmless(untrusted_text: str) -> str:
    """A name that cannot pretend to be anything but a name: one line, no control or direction characters, no quotes."""
    text = "".join(character if character.isprintable() else "\ufffd" for character in untrusted_text)
    text = text.replace('"', "'").strip()
    return text if len(text) <= NAME_MAX else text[: NAME_MAX - 1] + "\u2026"


def _value(untrusted: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = untrusted.get(key)
    if not isinstance(value, kind):
        raise InvalidArgument(f"The question lacks '{key}', or it has the wrong type.")
    return value
