"""Command and response APDUs (ISO 7816-4, 5.1 to 5.6; ISO 7816-3, 12.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from virtcard.wire.malformed import Malformed
from virtcard.wire.openenum import OpenIntEnum

HEADER_BYTES: Final = 4
SHORT_DATA_MAX: Final = 255
SHORT_LE_MAX: Final = 256
DATA_MAX: Final = 65_535
LE_MAX: Final = 65_536

CHAIN_BIT: Final = 0x10
"""CLA bit of every command of a chain but the last (ISO 7816-4, 5.3.3)."""
PROPRIETARY_BIT: Final = 0x80
FURTHER_BIT: Final = 0x40
"""CLA bit of the further interindustry class: channels 4 to 19."""


class Sw(OpenIntEnum):
    """Status words (ISO 7816-4, table 6), the ones that we name."""

    OK = 0x9000
    WARNING_UNCHANGED = 0x6200
    END_OF_FILE = 0x6282
    VERIFY_FAILED = 0x6300
    MEMORY_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    CHANNEL_NOT_SUPPORTED = 0x6881
    SECURE_MESSAGING_NOT_SUPPORTED = 0x6882
    LAST_OF_CHAIN_EXPECTED = 0x6883
    CHAINING_NOT_SUPPORTED = 0x6884
    COMMAND_NOT_ALLOWED = 0x6900
    SECURITY_STATUS_NOT_SATISFIED = 0x6982
    AUTHENTICATION_BLOCKED = 0x6983
    DATA_NOT_USABLE = 0x6984
    CONDITIONS_NOT_SATISFIED = 0x6985
    INCORRECT_DATA = 0x6A80
    FUNCTION_NOT_SUPPORTED = 0x6A81
    FILE_NOT_FOUND = 0x6A82
    RECORD_NOT_FOUND = 0x6A83
    NOT_ENOUGH_MEMORY = 0x6A84
    INCORRECT_P1_P2 = 0x6A86
    REFERENCE_NOT_FOUND = 0x6A88
    WRONG_P1_P2 = 0x6B00
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00
    NO_DIAGNOSIS = 0x6F00


MORE_DATA: Final = 0x61
"""SW1: SW2 more bytes wait for GET RESPONSE, 00 for 256 or more."""
WRONG_LE: Final = 0x6C
"""SW1: the command again, with SW2 as its Le."""


def more_data(count: int) -> int:
    """61xx for `count` (at least 1) bytes that still wait."""
    return MORE_DATA << 8 | (count if count < SHORT_LE_MAX else 0)


def tries_left(count: int) -> int:
    """63Cx for a failed VERIFY with `count` (0 to 15) tries left."""
    return 0x63C0 | min(count, 15)


class Case(StrEnum):
    """The seven shapes of a command: what it carries and what it expects, short or extended."""

    CASE_1 = "1"
    CASE_2S = "2S"
    CASE_3S = "3S"
    CASE_4S = "4S"
    CASE_2E = "2E"
    CASE_3E = "3E"
    CASE_4E = "4E"


@dataclass(frozen=True, slots=True)
class CommandApdu:
    """A command. `le` is the most bytes it wants back (1 to 65,536), None for none. Data stays out of the repr."""

    cla: int
    ins: int
    p1: int = 0
    p2: int = 0
    data: bytes = field(default=b"", repr=False)
    le: int | None = None
    extended: bool = False

    @property
    def case(self) -> Case:
        """Its shape; a command with neither data nor Le is case 1 whatever `extended` says."""
        if not self.data and self.le is None:
            return Case.CASE_1
        number = 2 if not self.data else 3 if self.le is None else 4
        return Case(f"{number}{'E' if self.extended else 'S'}")

    @property
    def chained(self) -> bool:
        """More commands of the same chain follow."""
        return is_chained(self.cla)

    def encode(self) -> bytes:
        """The bytes; Malformed when data or Le do not fit into this shape."""
        data_max, le_max = (DATA_MAX, LE_MAX) if self.extended else (SHORT_DATA_MAX, SHORT_LE_MAX)
        if len(self.data) > data_max or not (self.le is None or 1 <= self.le <= le_max):
            raise Malformed("data or Le of a command do not fit into its lengths")
        header = bytes((self.cla, self.ins, self.p1, self.p2))
        return header + (self._extended_body() if self.extended else self._short_body())

    def _short_body(self) -> bytes:
        body = bytes((len(self.data),)) + self.data if self.data else b""
        return body if self.le is None else body + bytes((self.le % SHORT_LE_MAX,))

    def _extended_body(self) -> bytes:
        lc = len(self.data).to_bytes(2, "big") if self.data else b""
        le = b"" if self.le is None else (self.le % LE_MAX).to_bytes(2, "big")
        return b"\0" + lc + self.data + le if lc or le else b""

    @classmethod
    def parse(cls, command: bytes) -> CommandApdu:
        """A command of any case; Malformed when its lengths do not add up."""
        if len(command) < HEADER_BYTES:
            raise Malformed("a command has at least four bytes")
        cla, ins, p1, p2 = command[:HEADER_BYTES]
        data, le, extended = parse_body(command[HEADER_BYTES:])
        return cls(cla, ins, p1, p2, data, le, extended)


def parse_body(body: bytes) -> tuple[bytes, int | None, bool]:
    """Data, Le and whether the lengths are extended, of what follows the header (ISO 7816-3, 12.1.3); or Malformed."""
    if not body:
        return b"", None, False
    if len(body) == 1:
        return b"", body[0] or SHORT_LE_MAX, False
    if body[0]:
        return (*_split(body[1:], body[0], 1, SHORT_LE_MAX), False)
    if len(body) < 3:
        raise Malformed("a command ends inside its extended length")
    length = int.from_bytes(body[1:3], "big")
    if len(body) == 3:
        return b"", length or LE_MAX, True
    if not length:
        raise Malformed("a command announces no data and brings some")
    return (*_split(body[3:], length, 2, LE_MAX), True)


def _split(body: bytes, untrusted_length: int, le_bytes: int, le_max: int) -> tuple[bytes, int | None]:
    data, tail = body[:untrusted_length], body[untrusted_length:]
    if len(data) != untrusted_length or len(tail) not in (0, le_bytes):
        raise Malformed("the data of a command are not as long as it says")
    return data, (int.from_bytes(tail, "big") or le_max) if tail else None


@dataclass(frozen=True, slots=True)
class ResponseApdu:
    """An answer: data, which stay out of the repr, and the status word."""

    data: bytes = field(default=b"", repr=False)
    sw: int = Sw.OK

    @property
    def sw1(self) -> int:
        """The class of the status."""
        return self.sw >> 8

    @property
    def sw2(self) -> int:
        """Its detail; with 61 and 6C a length, see `length`."""
        return self.sw & 0xFF

    @property
    def length(self) -> int:
        """SW2 as a length in bytes: 00 is 256."""
        return self.sw2 or SHORT_LE_MAX

    def encode(self) -> bytes:
        """Data and status word."""
        return self.data + self.sw.to_bytes(2, "big")

    @classmethod
    def parse(cls, response: bytes) -> ResponseApdu:
        """Malformed without a status word."""
        if len(response) < 2:
            raise Malformed("an answer has at least its status word")
        return cls(response[:-2], int.from_bytes(response[-2:], "big"))


def is_proprietary(cla: int) -> bool:
    """A class outside of ISO 7816-4, where an INS means what its maker says."""
    return bool(cla & PROPRIETARY_BIT)


def is_chained(cla: int) -> bool:
    """More commands of this chain follow. GlobalPlatform and PIV use the bit in proprietary classes, too."""
    return bool(cla & CHAIN_BIT)


def is_secured(cla: int) -> bool:
    """Interindustry secure messaging (ISO 7816-4, tables 2 and 3): the answer is wrapped and so never empty."""
    return not cla & PROPRIETARY_BIT and bool(cla & (0x20 if cla & FURTHER_BIT else 0x0C))


def channel(cla: int) -> int:
    """The logical channel, 0 to 19 (GSM and GlobalPlatform keep the two bits of the first class in theirs)."""
    return 4 + (cla & 0x0F) if cla & FURTHER_BIT else cla & 0x03
