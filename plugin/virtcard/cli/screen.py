"""What a person sees: sentences, tables, JSON. rich is loaded only when a table is drawn on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

ACCENTS = {
    "ok": "green",
    "inserted": "green",
    "warning": "yellow",
    "pending-power-cycle": "yellow",
    "error": "red",
    "failed": "red",
    "conflict": "red",
}


def complain(sentence: str, hint: str = "") -> None:
    """An error on stderr: one sentence, and below it what to do."""
    print(f"virtcard: {printable(sentence)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def warn(sentence: str, hint: str = "") -> None:
    """Something to know on stderr, while the command goes on."""
    print(f"warning: {printable(sentence)}", file=sys.stderr)
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


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below titles: drawn on a terminal, aligned by spaces anywhere else."""
    clean = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(titles, clean)
    else:
        _align([titles, *clean])


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """`Title:  value` lines, as `virsh dominfo` has them."""
    width = max(len(title) for title, _ in pairs) + 1
    for title, value in pairs:
        say(f"{title + ':' if title else '':<{width}}  {value}".rstrip())


def clock(microseconds: int) -> str:
    """A moment on the reader's own clock, as journalctl has it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(microseconds / 1_000_000))


def _align(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        drawn.add_column(title, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=ACCENTS.get(cell, "")) for cell in row))
    Console().print(drawn)
