"""What a person sees: sentences, tables, JSON. rich is loaded only when a table is drawn on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, TextIO

from virtcard.cli.columns import widths

if TYPE_CHECKING:
    from rich.table import Table

ACCENTS = {
    "ok": "green",
    "inserted": "green",
    "warning": "yellow",
    "pending-power-cycle": "yellow",
    "error": "red",
    "failed": "red",
    "conflict": "red",
}
"""Words that say how things stand, and their colours."""
COLOURS = {"red": 31, "green": 32, "yellow": 33}
"""Select Graphic Rendition of ECMA-48."""


def complain(sentence: str, hint: str = "", *, who: str = "virtcard") -> None:
    """An error on stderr, after the name of the command: one sentence, and below it what to do."""
    print(f"{painted(f'{who}:', 'red', sys.stderr)} {printable(sentence)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def warn(sentence: str, hint: str = "") -> None:
    """Something to know on stderr, while the command goes on."""
    print(f"{painted('warning:', 'yellow', sys.stderr)} {printable(sentence)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def tell(sentence: str) -> None:
    """A line for the person on stderr, where stdout is for a program."""
    print(printable(sentence), file=sys.stderr, flush=True)


def say(sentence: str) -> None:
    """A line on stdout."""
    print(printable(sentence))


def say_json(value: object) -> None:
    """A whole JSON document on stdout."""
    print(json.dumps(value, indent=2))


def say_json_line(value: object) -> None:
    """One JSON document on one line, there at once for whoever reads the pipe."""
    print(json.dumps(value), flush=True)


def printable(text: str) -> str:
    """`text` without control characters: names come from domain XML and from USB descriptors."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def is_plain(stream: TextIO) -> bool:
    """Nothing moves there and nothing is drawn: it is no terminal, or one that can do no more than print."""
    return not stream.isatty() or os.environ.get("TERM") == "dumb"


def painted(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour, on a terminal whose owner wants any (https://no-color.org)."""
    if is_plain(stream) or os.environ.get("NO_COLOR") or not colour:
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def accented(word: str, width: int = 0) -> str:
    """For stdout: a word that says how things stand in its colour, and spaces up to `width`."""
    return painted(word, ACCENTS.get(word, ""), sys.stdout) + " " * (width - len(word))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below titles: drawn to fit a terminal, aligned by spaces anywhere else."""
    clean = _clean(rows)
    if not sys.stdout.isatty():
        _align([titles, *clean])
        return
    from rich.console import Console

    console = Console()
    if rows and widths([titles, *clean], console.width) is None:
        _records(titles, clean)
    else:
        console.print(drawing(titles, rows, console.width))


def drawing(titles: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> Table:
    """A table as rich draws it, so many letters wide; words are broken only where they do not fit in any way."""
    from rich.table import Table
    from rich.text import Text

    clean = _clean(rows)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title, width in zip(titles, widths([titles, *clean], room) or repeat(None), strict=False):
        drawn.add_column(title, overflow="fold", width=width)
    for row in clean:
        drawn.add_row(*(Text(cell, style=ACCENTS.get(cell, "")) for cell in row))
    return drawn


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """`Title:  value` lines, as `virsh dominfo` has them."""
    width = max(len(title) for title, _ in pairs) + 1
    for title, value in pairs:
        print(f"{title + ':' if title else '':<{width}}  {accented(printable(value))}".rstrip())


def clock(microseconds: int) -> str:
    """A moment on the reader's own clock, as journalctl has it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds / 1_000_000))


def _records(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """For a terminal that is too narrow for columns: a line for each cell, and an empty one between two rows."""
    for number, row in enumerate(rows):
        if number:
            print()
        fields(list(zip(titles, row, strict=True)))


def _align(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _clean(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
