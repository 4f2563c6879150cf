"""Commands and answers that are longer than one APDU (ISO 7816-4, 5.3.3 and 5.3.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from virtcard.wire.apdu import (
    CHAIN_BIT,
    SHORT_LE_MAX,
    WRONG_LE,
    CommandApdu,
    ResponseApdu,
    Sw,
    more_data,
)

CHAINED_MAX: Final = 16 * 1024
"""Bytes of all commands of a chain: the largest object of PIV has 12,710 (SP 800-73-4 part 1, table 8)."""

Header = tuple[int, int, int, int]


class Chain:
    """Joins the commands of a chain. One that does not go on with it breaks it, and counts for itself."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._data = b""

    def clear(self) -> None:
        """Forget what was begun."""
        self._header, self._data = None, b""

    def add(self, command: CommandApdu) -> CommandApdu | ResponseApdu:
        """The whole command when this is its last part, or the answer to a part."""
        header = (command.cla & ~CHAIN_BIT, command.ins, command.p1, command.p2)
        begun = self._data if header == self._header else b""
        self.clear()
        data = begun + command.data
        if (begun or command.chained) and len(data) > CHAINED_MAX:
            return ResponseApdu(sw=Sw.WRONG_LENGTH)
        if not command.chained:
            return replace(command, data=data) if begun else command
        self._header, self._data = header, data
        return ResponseApdu()


class Answer:
    """What of an answer still waits for GET RESPONSE."""

    def __init__(self) -> None:
        self._waiting = b""

    def clear(self) -> None:
        """Any other command gives up what waits."""
        self._waiting = b""

    def give(self, command: CommandApdu, answer: ResponseApdu) -> ResponseApdu:
        """As much as the command wants, and 61xx for the rest; 6Cxx when all of it needed only another Le."""
        if not answer.data or answer.sw != Sw.OK:
            return answer
        if not command.data and command.le is not None and command.le < len(answer.data) < SHORT_LE_MAX:
            return ResponseApdu(sw=WRONG_LE << 8 | len(answer.data))
        return self._part(answer.data, command.le or 0)

    def more(self, command: CommandApdu) -> ResponseApdu:
        """GET RESPONSE. Its Le is a maximum; in T=0 a P3 of 00, or none, stands for 256."""
        if command.p1 or command.p2:
            return ResponseApdu(sw=Sw.INCORRECT_P1_P2)
        if command.data:
            return ResponseApdu(sw=Sw.WRONG_LENGTH)
        if not self._waiting:
            return ResponseApdu(sw=Sw.CONDITIONS_NOT_SATISFIED)
        return self._part(self._waiting, command.le or SHORT_LE_MAX)

    def _part(self, data: bytes, size: int) -> ResponseApdu:
        self._waiting = data[size:]
        return ResponseApdu(data[:size], more_data(len(self._waiting)) if self._waiting else Sw.OK)
