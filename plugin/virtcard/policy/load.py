"""TOML into rules. Whatever the text holds: rules, or problems with file, line and key, and never an exception."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from virtcard.limits import POLICY_LINE_MAX, POLICY_RULES_MAX
from virtcard.policy.keys import KEYS, known, table
from virtcard.policy.lines import Path, key_lines
from virtcard.policy.model import Place, Rule
from virtcard.policy.problem import Bad, Problem, Severity

_AT: Final = re.compile(r" *\(at (?:line (?P<line>[0-9]+), column [0-9]+|end of document)\)")
"""tomllib says in its sentence alone where it stopped; attributes for it came with Python 3.14."""

DEEPEST: Final = 12
"""Levels of a document; a rule has six."""

NO_ACTION: Final = Bad("The rule does not say what to do.", 'Add action = "allow", "ask" or "deny".', ("action",))


GRANT: Final = "grant"
"""The table in which a grant says who gave it; rules are all that counts here."""


@dataclass(frozen=True, slots=True)
class Document:
    """A policy file: where it is, and what is in it."""

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order in which they count, and what was found. With an error among it, `rules` is what is left."""

    rules: tuple[Rule, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps it from being used."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def parse(documents: Sequence[Document]) -> Policy:
    """The rules of all documents as one ordered list."""
    found = [item for document in documents for item in _entries(document)]
    rules = tuple(item for item in found if isinstance(item, Rule))
    problems = [item for item in found if isinstance(item, Problem)]
    if len(rules) > POLICY_RULES_MAX:
        problems.append(
            Problem(Severity.ERROR, rules[POLICY_RULES_MAX].place, "", f"There are more than {POLICY_RULES_MAX} rules.")
        )
    return Policy(rules, tuple(problems))


def _entries(document: Document) -> Iterator[Rule | Problem]:
    if long := _long_line(document.text):
        message = f"The line has more than {POLICY_LINE_MAX} characters."
        yield Problem(Severity.ERROR, Place(document.file, long), "", message, "A list may go over several lines.")
        return
    try:
        values = tomllib.loads(document.text)
        if not _is_flat(values):
            raise RecursionError
        lines = key_lines(document.text)
    except tomllib.TOMLDecodeError as error:
        yield syntax(document, str(error))
        return
    except (RecursionError, ValueError):
        # tomllib follows every bracket, and int() refuses thousands of digits
        yield Problem(Severity.ERROR, Place(document.file), "", "It is nested too deeply, or a number is too long.")
        return
    entries = values.get("rule", [])
    for bad in _top(values):
        yield _problem(document.file, lines, (), bad)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        yield from _rule(document.file, lines, index, entry)


def _top(values: dict[str, Any]) -> Iterator[Bad]:
    for key in values:
        if key not in ("rule", GRANT):
            yield Bad("There is no such key.", "A policy file has rules only, each below a line [[rule]].", (key,))
    if not isinstance(values.get("rule", []), list):
        yield Bad("Rules are a list.", "Write [[rule]], with two brackets.", ("rule",))


def _rule(file: str, lines: dict[Path, int], index: int, entry: Any) -> Iterator[Rule | Problem]:
    """The rule, or all that is wrong with it."""
    at: Path = ("rule", index)
    found: dict[str, Any] = {}
    problems = []
    try:
        entry = table(entry)
    except Bad as bad:
        yield _problem(file, lines, at, bad)
        return
    for key, value in entry.items():
        try:
            known({key: value}, tuple(KEYS))
            found[key.replace("-", "_")] = _taken(key, value)
        except Bad as bad:
            problems.append(_problem(file, lines, at, bad))
    if "action" not in entry:
        problems.append(_problem(file, lines, at, NO_ACTION))
    if problems:
        yield from problems
    else:
        yield Rule(**found, place=Place(file, lines.get(at, 0)))


def _taken(key: str, value: Any) -> Any:
    try:
        return KEYS[key](value)
    except Bad as bad:
        raise bad.below(key) from None


def _problem(file: str, lines: dict[Path, int], at: Path, bad: Bad) -> Problem:
    path = (*at, *bad.path)
    line = next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 0)
    key = ".".join(str(name) for name in path if isinstance(name, str))
    return Problem(Severity.ERROR, Place(file, line), _printable(key), _printable(bad.message), bad.hint)


def syntax(document: Document, sentence: str) -> Problem:
    """What tomllib says of a document that is no TOML, with its place."""
    found = _AT.search(sentence)
    line = int(found["line"]) if found and found["line"] else document.text.count("\n") + 1
    message = f"This is not TOML: {_AT.sub('', sentence)}."
    hint = "See https://toml.io for how to write it."
    return Problem(Severity.ERROR, Place(document.file, line), "", _printable(message), hint)


def _long_line(text: str) -> int:
    """The first line that is too long, or 0."""
    lines = enumerate(text.split("\n"), 1)
    return next((number for number, line in lines if len(line) > POLICY_LINE_MAX), 0)


def _is_flat(value: Any, deepest: int = DEEPEST) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return deepest > 0 and all(_is_flat(each, deepest - 1) for each in inner)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
