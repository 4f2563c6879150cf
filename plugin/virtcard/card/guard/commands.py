"""One command as the guard sees it, and the instructions that it knows by name (ISO 7816-4, table 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from virtcard import limits
from virtcard.card.guard.classes import CLASSES, ClassByte, Kind
from virtcard.wire.apdu import HEADER_BYTES, parse_body
from virtcard.wire.instructions import PIN_INSTRUCTIONS
from virtcard.wire.malformed import Malformed


class Ins(IntEnum):
    """Instructions that need the guard's eye."""

    VERIFY = 0x20
    MANAGE_SECURITY_ENVIRONMENT = 0x22
    CHANGE_REFERENCE_DATA = 0x24
    RESET_RETRY_COUNTER = 0x2C
    PERFORM_SECURITY_OPERATION = 0x2A
    MANAGE_CHANNEL = 0x70
    EXTERNAL_AUTHENTICATE = 0x82
    GENERAL_AUTHENTICATE = 0x87
    SELECT = 0xA4
    GET_RESPONSE = 0xC0
    ENVELOPE = 0xC2
    GET_DATA = 0xCA


REFERENCE_DATA: Final = PIN_INSTRUCTIONS | {0x27, 0x29}
"""Commands that carry a PIN, a PUK or a fingerprint; the odd ones of DISABLE and ENABLE VERIFICATION REQUIREMENT, too,
which the standard does not have and a card might."""

GENERAL_AUTHENTICATE: Final = frozenset({0x86, 0x87})
ENVELOPES: Final = frozenset({0xC2, 0xC3})

_STANDARD: Final = frozenset({Kind.INTERINDUSTRY, Kind.PROPRIETARY, Kind.GSM})
BY_NAME: Final = 0x04
"""P1 of SELECT."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command whose lengths add up."""

    raw: bytes = field(repr=False)
    cls: ClassByte
    ins: int
    p1: int
    p2: int
    data: bytes = field(repr=False)
    has_le: bool

    @property
    def header(self) -> bytes:
        """CLA, INS, P1 and P2."""
        return self.raw[:HEADER_BYTES]

    @property
    def parameters(self) -> int:
        """P1 and P2 as one number."""
        return self.p1 << 8 | self.p2

    @property
    def seen(self) -> bytes | None:
        """The data; None when they are wrapped or only a part of what the card will join."""
        return None if self.cls.secured or self.cls.chained else self.data


def read(untrusted: bytes) -> Command:
    """The command; Malformed when its lengths do not add up, so that no card can see another one in these bytes."""
    if not HEADER_BYTES <= len(untrusted) <= limits.C_APDU_MAX:
        raise Malformed("a command has 4 to 65,544 bytes")
    cla, ins, p1, p2 = untrusted[:HEADER_BYTES]
    data, le, _ = parse_body(untrusted[HEADER_BYTES:])
    return Command(untrusted, CLASSES[cla], ins, p1, p2, data, le is not None)


def is_select_by_name(command: Command) -> bool:
    """A SELECT by name whose effect does not depend on what was selected: on the basic channel, and plain."""
    return command.ins == Ins.SELECT and command.p1 == BY_NAME and command.cls.plain and command.cls.kind in _STANDARD
