"""The file of `virtcard policy test`: what the author of a policy expects of it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from virtcard.cli.local.policy.judged import apdu
from virtcard.errors import InvalidArgument
from virtcard.policy import patterns
from virtcard.policy.decide import Request
from virtcard.policy.keys import known, table, text
from virtcard.policy.lines import key_lines
from virtcard.policy.load import Document, syntax
from virtcard.policy.model import Action, Place
from virtcard.policy.problem import Bad

Row = tuple[bytes, ...]
"""Commands on one card, one after the other; the last one is judged."""

NEEDED: Final = ("vm", "card", "action")
OPTIONAL: Final = ("uuid", "tags", "user", "atr", "allowed", "refused")
READER: Final = "reader:"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry: the policy says `action` to the request, and its guard so to the commands."""

    place: Place
    request: Request
    action: Action
    allowed: tuple[Row, ...] = ()
    refused: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Expectations:
    """A file of them. Without `policy`, they are about the policy of the chosen virtcardd."""

    entries: tuple[Expectation, ...]
    policy: tuple[Path, ...] = ()


def expectations(document: Document) -> Expectations:
    """What a file holds; InvalidArgument with file, line and key of the first thing that is wrong."""
    try:
        values = tomllib.loads(document.text)
        lines = key_lines(document.text)
    except (ValueError, RecursionError) as error:
        problem = syntax(document, str(error))
        raise InvalidArgument(str(problem), hint=problem.hint) from None
    at: tuple[str | int, ...] = ()
    try:
        known(values, ("policy", "expect"))
        folder = Path(document.file).parent
        policy = tuple(folder / name for name in _texts(values.get("policy", []), "policy"))
        entries = values.get("expect", [])
        if not isinstance(entries, list) or not entries:
            raise Bad("Nothing is expected.", "Write at least one [[expect]] with vm, card and action.")
        found = []
        for index, entry in enumerate(entries):
            at = ("expect", index)
            found.append(_expectation(Place(document.file, lines.get(at, 0)), table(entry)))
    except Bad as bad:
        path = (*at, *bad.path)
        line = next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 0)
        key = ".".join(str(name) for name in path if isinstance(name, str))
        where = f"{Place(document.file, line)}: {key}: " if key else f"{Place(document.file, line)}: "
        raise InvalidArgument(f"{where}{bad.message}", hint=bad.hint) from None
    return Expectations(tuple(found), policy)


def _expectation(place: Place, entry: Mapping[str, Any]) -> Expectation:
    known(entry, (*NEEDED, *OPTIONAL))
    for key in NEEDED:
        if key not in entry:
            raise Bad("It is missing.", f"Each [[expect]] has {', '.join(NEEDED)}.", (key,))
    return Expectation(
        place,
        _request(entry),
        _taken(entry, "action", _action),
        _taken(entry, "allowed", _rows),
        _taken(entry, "refused", _rows),
    )


def _request(entry: Mapping[str, Any]) -> Request:
    card = _taken(entry, "card", text)
    return Request(
        uuid=_taken(entry, "uuid", _uuid),
        name=_taken(entry, "vm", text),
        tags=frozenset(_taken(entry, "tags", _tags)),
        user=_taken(entry, "user", lambda value: text(value) if value is not None else ""),
        source=card,
        reader=card.removeprefix(READER) if card.startswith(READER) else "",
        atr=_taken(entry, "atr", _atr),
    )


def _taken(entry: Mapping[str, Any], key: str, take: Callable[[Any], Any]) -> Any:
    try:
        return take(entry.get(key))
    except Bad as bad:
        raise bad.below(key) from None
    except InvalidArgument as error:
        raise Bad(error.message, error.hint, (key,)) from None


def _action(value: Any) -> Action:
    try:
        return Action(text(value))
    except ValueError:
        raise Bad(f"{value[:32]!r} is no action.", f"It is one of {', '.join(Action)}.") from None


def _uuid(value: Any) -> UUID:
    try:
        return UUID(text(value)) if value is not None else UUID(int=0)
    except ValueError:
        raise Bad(f"{value[:40]!r} is no UUID.") from None


def _tags(value: Any) -> tuple[str, ...]:
    return tuple(patterns.vm(f"@{tag}")[1:] for tag in _texts(value))


def _atr(value: Any) -> bytes:
    try:
        return bytes.fromhex(text(value).replace(":", " ")) if value is not None else b""
    except ValueError:
        raise Bad(f"{value[:40]!r} is no ATR.", "Write its bytes in hex.") from None


def _rows(value: Any) -> tuple[Row, ...]:
    return tuple(tuple(apdu(each.strip()) for each in row.split(",")) for row in _texts(value))


def _texts(value: Any, *path: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Bad("It must be a list.", "Write texts in brackets.", path)
    return [text(each) for each in value]
