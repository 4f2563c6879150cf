"""A small card for tests, with what bridges and readers must get right and nothing else.

CLA 80: INS 10 gives P1P2 bytes, INS 12 echoes its data, INS 14 waits for `gate`, INS 16 needs the PIN.
CLA 00: A4 selects `AID`, 20 verifies `PIN` (without data: says whether it is verified), C0 fetches what 61xx announced.
CLA bit 10 chains. A T=0 card answers a command with data by 61xx; a T=1 card answers at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

AID = bytes.fromhex("F07669727463617264")
PIN = b"123456"
FCI = b"\x6f\x0b\x84\x09" + AID

ATR_T0 = b"\x3b\x08virtcard"
"""No TD1: T=0 alone; eight historical bytes."""

_T1 = b"\x88\x01virtcard"
ATR_T1 = b"\x3b" + _T1 + bytes([0x88 ^ 0x01 ^ 0x76 ^ 0x69 ^ 0x72 ^ 0x74 ^ 0x63 ^ 0x61 ^ 0x72 ^ 0x64])
"""TD1 = 01: T=1 alone, so a check byte ends it (ISO 7816-3, 8.2.5)."""

OK = b"\x90\x00"
SELECT = b"\x00\xa4\x04\x00\x09" + AID
VERIFY = b"\x00\x20\x00\x80\x06" + PIN
VERIFIED = b"\x00\x20\x00\x80"
PROTECTED = b"\x80\x16\x00\x00"
WAIT = b"\x80\x14\x00\x00"


def give(size: int) -> bytes:
    """The command for an answer of `size` bytes and a status word; Le is short up to 256 and extended above."""
    return b"\x80\x10" + size.to_bytes(2) + (bytes([size & 0xFF]) if size <= 256 else b"\x00" + size.to_bytes(2))


def echo(data: bytes, *, more: bool = False) -> bytes:
    """The command that sends `data` to and fro; `more` chains it to the next one."""
    length = bytes([len(data)]) if len(data) < 256 else b"\x00" + len(data).to_bytes(2)
    return (b"\x90" if more else b"\x80") + b"\x12\x00\x00" + length + data


def pattern(size: int) -> bytes:
    """What `give` answers."""
    return bytes(at * 7 & 0xFF for at in range(size))


class ScriptedCard:
    """The card. `gate` is open until a test clears it; `waiting` says that a command stands before it."""

    def __init__(self, atr: bytes = ATR_T0) -> None:
        self.atr = atr
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.resets = 0
        self.commands = 0
        self._direct = atr == ATR_T1
        self._verified = False
        self._pending = b""
        self._chain = b""

    def reset(self) -> None:
        """Forget the PIN and everything else."""
        self.resets += 1
        self._verified, self._pending, self._chain = False, b"", b""

    @property
    def is_logged_in(self) -> bool:
        """The PIN is verified."""
        return self._verified

    def transmit(self, command: bytes) -> bytes:
        """Answer one command."""
        self.commands += 1
        ins, data = command[1], _data(command)
        if command[0] & 0x10:
            self._chain += data
            return OK
        data, self._chain = self._chain + data, b""
        answers: dict[int, Callable[[], bytes]] = {
            0xA4: lambda: self._answer(FCI) if data == AID else b"\x6a\x82",
            0x20: lambda: self._verify(data),
            0xC0: lambda: self._fetch(command[4] or 256),
            0x10: lambda: self._give(int.from_bytes(command[2:4]), len(command)),
            0x12: lambda: self._answer(data),
            0x14: self._wait,
            0x16: lambda: OK if self._verified else b"\x69\x82",
        }
        return answers[ins]() if ins in answers else b"\x6d\x00"

    def _answer(self, data: bytes) -> bytes:
        if self._direct or not data:
            return data + OK
        self._pending = data
        return self._more()

    def _give(self, size: int, command_size: int) -> bytes:
        data = pattern(size)
        if size <= 256 or command_size > 5:
            return data + OK
        self._pending = data[256:]
        return data[:256] + self._more()

    def _fetch(self, size: int) -> bytes:
        if not self._pending:
            return b"\x69\x85"
        data, self._pending = self._pending[:size], self._pending[size:]
        return data + (self._more() if self._pending else OK)

    def _more(self) -> bytes:
        return bytes([0x61, min(len(self._pending), 256) & 0xFF])

    def _verify(self, data: bytes) -> bytes:
        if data:
            self._verified = data == PIN
        return OK if self._verified else b"\x63\xc3"

    def _wait(self) -> bytes:
        self.waiting.set()
        self.gate.wait(30)
        self.waiting.clear()
        return OK


def _data(command: bytes) -> bytes:
    """The data field of a command without or with an extended length (ISO 7816-4, 5.1)."""
    if len(command) > 7 and command[4] == 0:
        return command[7 : 7 + int.from_bytes(command[5:7])]
    return command[5 : 5 + command[4]] if len(command) > 5 else b""
