"""How wide the columns of a table are, so that a terminal shows it without breaking words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LONGEST: Final = 16
"""Letters that stay together; what is longer (an ATR, a UUID) is no word, and may be folded."""
GAP: Final = 2
"""Spaces between two columns."""


def widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Of each column of `rows`, titles among them, in `room` letters; None when words would have to be broken.

    Each has the room of its longest word. What is left goes to who wants least first, so that few cells are folded."""
    columns = list(zip(*rows, strict=True))
    wanted = [max(map(len, column)) for column in columns]
    found = [max(map(_word, column)) for column in columns]
    left = room - GAP * (len(columns) - 1) - sum(found)
    if left < 0:
        return None
    order = sorted(range(len(columns)), key=lambda at: wanted[at] - found[at])
    for turn, at in enumerate(order):
        more = min(wanted[at] - found[at], left // (len(order) - turn))
        found[at] += more
        left -= more
    return found


def _word(cell: str) -> int:
    """The longest word in it."""
    return min(max(map(len, cell.split()), default=0), LONGEST)
