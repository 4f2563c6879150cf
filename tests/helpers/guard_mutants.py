"""The built-in tables of the guard with one entry changed: in memory, and in the source itself."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from virtcard.card.guard.applications import Application
from virtcard.card.guard.builtin import Entries
from virtcard.card.guard.profile import BUILT_IN

_CLASSES: Final = ("", "80:", "A0:", "FF:")
_TABLES: Final = frozenset({"EVERYWHERE", "READ", "_USE_BEYOND_READ", "_PIV_KEYS"})
_PLUGIN: Final = Path(__file__).resolve().parents[2] / "plugin"
_SOURCE: Final = Path("virtcard/card/guard/builtin.py")


def wider(entry: str) -> Iterator[str]:
    """An entry that lets a little more through: other data, any digit in place of each one, another class as well."""
    head, only, _ = entry.partition("=")
    if only:
        yield head
    kind, pattern = _parts(head)
    full = f"{pattern}xxxx"[:6]
    for at, digit in enumerate(full):
        if digit != "x":
            yield f"{kind}{full[:at]}x{full[at + 1 :]}"
    for other in _CLASSES:
        if other != kind:
            yield f"{other}{pattern}"


def covers(entry: str, other: str) -> bool:
    """All that `other` lets through is let through by `entry` as well."""
    head, only, _ = entry.partition("=")
    (kind, pattern), (other_kind, other_pattern) = _parts(head), _parts(other.partition("=")[0])
    digits = zip(f"{pattern}xxxx"[:6], f"{other_pattern}xxxx"[:6], strict=True)
    return not only and kind == other_kind and all(one in ("x", two) for one, two in digits)


def _parts(head: str) -> tuple[str, str]:
    """The class in front of a pattern, and the pattern."""
    kind, colon, pattern = head.rpartition(":")
    return kind + colon, pattern


@dataclass(frozen=True, slots=True)
class Mutant:
    """Tables in which one entry of one application is gone, or wider."""

    level: str
    application: Application
    entry: str
    instead: str
    """Empty when it is gone."""

    @property
    def is_another(self) -> bool:
        """It lets through what no other entry of the application does."""
        others = BUILT_IN[self.level][self.application]
        return not any(covers(one, self.instead) for one in others if one != self.entry)

    @property
    def tables(self) -> dict[str, Entries]:
        """All built-in tables, with this one changed."""
        table = BUILT_IN[self.level]
        left = tuple(one for one in table[self.application] if one != self.entry)
        more = (self.entry, self.instead) if self.instead else ()
        return {**BUILT_IN, self.level: table | {self.application: (*left, *more)}}

    def __str__(self) -> str:
        return f"{self.level} {self.application} {self.entry} {self.instead or 'gone'}"


def gone() -> Iterator[Mutant]:
    """Each entry, gone."""
    for level, table in BUILT_IN.items():
        for application, entries in table.items():
            for entry in dict.fromkeys(entries):
                yield Mutant(level, application, entry, "")


def widened() -> Iterator[Mutant]:
    """Each entry, wider in each way."""
    for one in gone():
        for instead in wider(one.entry):
            yield Mutant(one.level, one.application, one.entry, instead)


@dataclass(frozen=True, slots=True)
class SourceMutant:
    """One literal of builtin.py in place of another."""

    line: int
    column: int
    end: int
    entry: str
    instead: str

    def __str__(self) -> str:
        return f"builtin.py:{self.line} {self.entry} to {self.instead}"

    def apply(self, root: Path) -> None:
        """Make this change, and no other, in a copy of the import root."""
        lines = (_PLUGIN / _SOURCE).read_text().splitlines(keepends=True)
        line = lines[self.line - 1]
        lines[self.line - 1] = f'{line[: self.column]}"{self.instead}"{line[self.end :]}'
        path = root / _SOURCE
        path.write_text("".join(lines))
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()  # it may be as new and as long


def copy_of_source(folder: Path) -> Path:
    """The import root below the folder: what PYTHONPATH must begin with."""
    root = folder / "plugin"
    shutil.copytree(_PLUGIN, root, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return root


def in_source() -> list[SourceMutant]:
    """Each literal of the tables twice: gone, which is another one of its table in its place, and wider."""
    return [
        SourceMutant(literal.lineno, literal.col_offset, literal.end_col_offset or 0, entry, instead)
        for table in _tables()
        for literal, entry in _literals(table)
        for instead in _instead(entry)
    ]


def _tables() -> Iterator[ast.expr]:
    for statement in ast.parse((_PLUGIN / _SOURCE).read_text()).body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in _TABLES:
                yield value


def _literals(node: ast.AST) -> Iterator[tuple[ast.Constant, str]]:
    """All that are entries by themselves: no parts of an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node, node.value
    elif not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from _literals(child)


def _instead(entry: str) -> tuple[str, str]:
    known = "C0" if entry == "A404xx" else "A404xx"
    return ("9C" if entry == "9A" else "9A", f"x{entry[1:]}") if entry in _KEYS else (known, next(wider(entry)))


_KEYS: Final = ("9A", "9C", "9D", "9E")
"""Of PIV, which stand in patterns by an f-string."""
