"""The short way for commands that were looked at before: most of what a guest sends are repetitions."""

from __future__ import annotations

from typing import Final

from virtcard import limits
from virtcard.card.guard.table import Selected
from virtcard.wire.apdu import HEADER_BYTES

_SELECT_MAX: Final = HEADER_BYTES + 18
"""Bytes of a SELECT: a name of 16, its length, and Le."""
_EXTENDED_HEADER: Final = HEADER_BYTES + 3


class Lane:
    """What goes the short way while one application is selected. A guest may fill it, and no more."""

    __slots__ = ("headers", "selects")

    def __init__(self) -> None:
        self.headers: set[bytes] = set()
        """Of commands that are let through whatever their data are, and change nothing for the guard."""
        self.selects: dict[bytes, Selected] = {}
        """SELECTs by name, and what is selected when they succeed."""

    def add(self, header: bytes) -> None:
        """A header."""
        if len(self.headers) < limits.GUARD_HEADERS_MAX:
            self.headers.add(header)

    def add_select(self, command: bytes, selected: Selected) -> None:
        """A SELECT."""
        if len(self.selects) < limits.GUARD_SELECTS_MAX and len(command) <= _SELECT_MAX:
            self.selects[command] = selected


EMPTY: Final = Lane()
"""Within a chain there is no short way."""


def adds_up(command: bytes) -> bool:
    """Its lengths add up (ISO 7816-3, 12.1.3); the same as `commands.read` says, in less time."""
    length = len(command)
    if length <= HEADER_BYTES + 1:
        return True
    if command[4]:
        return 0 <= length - 5 - command[4] <= 1
    if length <= _EXTENDED_HEADER:
        return length == _EXTENDED_HEADER
    data = command[5] << 8 | command[6]
    return data > 0 and length - _EXTENDED_HEADER - data in (0, 2)
