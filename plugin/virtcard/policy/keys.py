"""What each key of a rule takes: plain TOML values in, the model's out, or Bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time
from enum import StrEnum
from typing import Any, Final, TypeVar

from virtcard.errors import InvalidArgument
from virtcard.limits import POLICY_APPLICATIONS_MAX, POLICY_COMMANDS_MAX, POLICY_PIN_RESERVE_MAX
from virtcard.policy import patterns
from virtcard.policy.model import (
    OTHER,
    Action,
    ApplicationCommands,
    AskFor,
    Commands,
    Existing,
    Handover,
    HostLogin,
    Monitor,
    Profile,
    Sharing,
    WhenLocked,
    WhenViewer,
)
from virtcard.policy.problem import Bad
from virtcard.policy.remember import Remember, remember

W = TypeVar("W", bound=StrEnum)

_TYPES: Final = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise Bad(f"It must be a text, and is {_type(value)}.", "Write it in quotes.")
    return value


def table(value: Any) -> dict[str, Any]:
    """A table."""
    if not isinstance(value, dict):
        raise Bad(f"It must be a table, and is {_type(value)}.")
    return value


def known(value: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """No other keys than these."""
    for key in value:
        if key not in keys:
            raise Bad("There is no such key.", f"Known here: {', '.join(keys)}.", (key,))


def _type(value: Any) -> str:
    if isinstance(value, date | time):
        return "a date or time"
    return next((name for kind, name in _TYPES.items() if isinstance(value, kind)), "something else")


def _word(kind: type[W]) -> Callable[[Any], W]:
    def take(value: Any) -> W:
        word = text(value)
        try:
            return kind(word)
        except ValueError:
            raise Bad(f"{word[:32]!r} is not known here.", f"It takes one of {', '.join(kind)}.") from None

    return take


def _pattern(check: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: check(text(value))


def _remember(value: Any) -> Remember:
    try:
        return remember(text(value))
    except InvalidArgument as error:
        raise Bad(error.message, error.hint) from None


def _pin_reserve(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= POLICY_PIN_RESERVE_MAX:
        raise Bad(f"It must be a number from 0 to {POLICY_PIN_RESERVE_MAX}.", "0 leaves the PIN unguarded.")
    return value


def _list(value: Any, item: Callable[[Any], Any], longest: int) -> list[Any]:
    if not isinstance(value, list):
        raise Bad(f"It must be a list, and is {_type(value)}.", "Write it in [].")
    if len(value) > longest:
        raise Bad(f"It has more than {longest} entries.")
    found = []
    for index, each in enumerate(value):
        try:
            found.append(item(each))
        except Bad as bad:
            raise bad.below(index) from None
    return found


def _ask_for(value: Any) -> frozenset[AskFor]:
    asked = _list(value, _word(AskFor), len(AskFor))
    if not asked:
        raise Bad("Nothing would be asked.", 'Leave it out for ["insert"], or say action = "allow".')
    return frozenset(asked)


def _commands(value: Any) -> Commands:
    if isinstance(value, str):
        return Commands(_word(Profile)(value))
    if not isinstance(value, dict):
        raise Bad(
            f"It must be a text or a table, and is {_type(value)}.", f"It takes {', '.join(Profile)}, or a table."
        )
    applications = {key: each for key, each in value.items() if key != "base"}
    if len(applications) > POLICY_APPLICATIONS_MAX:
        raise Bad(f"It names more than {POLICY_APPLICATIONS_MAX} applications.")
    found: dict[str, ApplicationCommands] = {}
    for key, each in applications.items():
        try:
            application = _application(key, each)
            if application.aid in found:
                raise Bad("This application is there twice.", "Upper and lower case are the same here.")
        except Bad as bad:
            raise bad.below(key) from None
        found[application.aid] = application
    return Commands(_base(value), tuple(found.values()))


def _base(value: dict[str, Any]) -> Profile:
    try:
        return _word(Profile)(value.get("base", Profile.USE.value))
    except Bad as bad:
        raise bad.below("base") from None


def _application(key: str, value: Any) -> ApplicationCommands:
    aid = key if key == OTHER else patterns.aid(key)
    known(table(value), ("allow", "deny"))
    return ApplicationCommands(aid, _instructions(value, "allow"), _instructions(value, "deny"))


def _instructions(value: dict[str, Any], key: str) -> tuple[str, ...]:
    try:
        return tuple(_list(value.get(key, []), _pattern(patterns.instruction), POLICY_COMMANDS_MAX))
    except Bad as bad:
        raise bad.below(key) from None


KEYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "vm": _pattern(patterns.vm),
    "card": _pattern(patterns.source),
    "atr": _pattern(patterns.atr),
    "user": _pattern(patterns.user),
    "action": _word(Action),
    "ask-for": _ask_for,
    "remember": _remember,
    "commands": _commands,
    "pin-reserve": _pin_reserve,
    "sharing": _word(Sharing),
    "when-locked": _word(WhenLocked),
    "when-viewer": _word(WhenViewer),
    "on-existing": _word(Existing),
    "monitor": _word(Monitor),
    "host-login": _word(HostLogin),
    "handover": _word(Handover),
}
"""Every key of a rule; the model's field has its name with _ for -."""
