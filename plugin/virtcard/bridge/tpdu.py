"""Between a guest that speaks T=0 TPDUs and any card: lengths that QEMU survives, and the Le that the guest left out.

usb-ccid drops answers over 374 bytes, and on xHCI an answer that fills its last 64-byte packet shifts all later ones by
one. So an answer goes out in parts of at most 256 bytes, never of a forbidden length, as T=0 cards do it: 61xx, and the
rest for GET RESPONSE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from virtcard import limits
from virtcard.bridge.complete import lacks_le
from virtcard.card.base import Transmission
from virtcard.wire.apdu import HEADER_BYTES, MORE_DATA, SHORT_LE_MAX, WRONG_LE, CommandApdu, Sw, channel
from virtcard.wire.malformed import Malformed

_SW_BYTES: Final = 2
_FORBIDDEN: Final = limits.BULK_PACKET - limits.CCID_HEADER
_WRONG_LENGTH: Final = Sw.WRONG_LENGTH.to_bytes(_SW_BYTES, "big")

GET_RESPONSE: Final = 0xC0
SEND_REMAINING: Final = 0xA5
"""What Yubico's OATH application takes instead of GET RESPONSE, and so what its guests answer 61xx with."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Give this command to the card."""

    command: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Give:
    """Give this answer to the guest."""

    response: bytes = field(repr=False)


Step = Ask | Give


def is_forbidden(length: int) -> bool:
    """An answer of `length` bytes that must not reach usb-ccid: 54, 118, 182, 246."""
    return length % limits.BULK_PACKET == _FORBIDDEN


class TpduAdapter:
    """One guest and one card. Each `command` is followed by as many `answer` as it takes until a Give comes."""

    def __init__(self, transmission: Transmission) -> None:
        self._completes = transmission is Transmission.T1
        self._stash = b""
        self._cla = 0
        self._completed = b""

    def command(self, untrusted_command: bytes) -> Step:
        """A command of the guest: Ask the card, or Give what we hold."""
        if len(untrusted_command) < HEADER_BYTES:
            return Give(_WRONG_LENGTH)
        if self._stash:
            expected = self._fetches(untrusted_command)
            if expected:
                return Give(self._part(expected))
            self._stash = b""
        self._cla = untrusted_command[0]
        if self._completes and lacks_le(untrusted_command):
            self._completed = untrusted_command
            return Ask(untrusted_command + b"\0")
        return Ask(untrusted_command)

    def answer(self, response: bytes) -> Step:
        """The card's answer (at least 2 bytes) to the last Ask."""
        if self._completed:
            command, self._completed = self._completed, b""
            if len(response) == _SW_BYTES and response[0] == WRONG_LE:
                return Ask(command + response[-1:])
            if response == _WRONG_LENGTH:
                return Ask(command)
        if len(response) <= limits.R_APDU_MAX and not is_forbidden(len(response)):
            return Give(response)
        self._stash = response
        return Give(self._part(SHORT_LE_MAX))

    def drop(self) -> None:
        """The last Ask failed: nothing is held for the guest."""
        self._stash = self._completed = b""

    def _fetches(self, command: bytes) -> int:
        """How much of what we hold a command wants: 0 unless it is GET RESPONSE for the command that left it."""
        cla, ins, p1, p2 = command[:HEADER_BYTES]
        ours = ins in (GET_RESPONSE, SEND_REMAINING) and not p1 | p2 and channel(cla) == channel(self._cla)
        return _expected(command) if ours else 0

    def _part(self, expected: int) -> bytes:
        """At most `expected` (1 or more) bytes of what we hold; the card's own status word with the last of them."""
        held = len(self._stash) - _SW_BYTES
        count = min(held, expected, limits.R_APDU_MAX - _SW_BYTES)
        if is_forbidden(count + _SW_BYTES):
            count -= 1
        if count == held:
            response, self._stash = self._stash, b""
            return response
        part, self._stash = self._stash[:count], self._stash[count:]
        rest = held - count
        return part + bytes((MORE_DATA, rest if rest < SHORT_LE_MAX else 0))


def _expected(command: bytes) -> int:
    """Le of a command without data, 1 to 65,536, and 256 where a T=0 guest gives none; 0 for any other command."""
    try:
        parsed = CommandApdu.parse(command)
    except Malformed:
        return 0
    return 0 if parsed.data else parsed.le or SHORT_LE_MAX
