"""What lasts is measured by a clock that never jumps. The clock of the wall tells people when something was."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[2] / "plugin" / "virtcard"

WALL: Final = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "CLOCK_REALTIME"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}

TELLS_WHEN: Final = {
    "card/trace.py": "the time of a packet in a capture",
    "card/soft/ca.py": "from when to when a certificate is valid",
    "card/soft/make.py": "when a card was made",
    "card/soft/material.py": "whether a certificate is valid now",
    "cli/local/doctor/metrics.py": "how old a file is, by its own time",
    "daemon/compose.py": "since when it runs, for people",
    "service/bridges.py": "since when a bridge is in its state, for people",
    "service/grants.py": "when somebody said always",
}
"""Modules that look at the wall, and what for."""


def looks_at_the_wall(source: str) -> Iterator[str]:
    """Every use of a clock that somebody may set."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id=module) | ast.Attribute(attr=module), attr=name):
                if (module, name) in WALL:
                    yield f"{module}.{name}"
            case ast.ImportFrom(module="time", names=names):
                yield from (alias.name for alias in names if ("time", alias.name) in WALL)


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", modules())
def test_only_what_tells_people_a_time_looks_at_the_wall(module: str) -> None:
    assert module in TELLS_WHEN or list(looks_at_the_wall((PACKAGE / module).read_text())) == []


@pytest.mark.parametrize("module", TELLS_WHEN)
def test_the_list_has_nobody_who_does_not(module: str) -> None:
    assert list(looks_at_the_wall((PACKAGE / module).read_text()))


def test_the_reader_of_sources_sees_every_way_to_write_it() -> None:
    source = """
import time, datetime
from time import time_ns
from datetime import datetime as d
a = time.time()
b = datetime.datetime.now()
c = datetime.now
d = time.monotonic()
"""
    assert sorted(looks_at_the_wall(source)) == ["datetime.now", "datetime.now", "time.time", "time_ns"]
