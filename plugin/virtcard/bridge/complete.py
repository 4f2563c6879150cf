"""The Le that a T=0 guest strips and a T=1 card may want."""

from __future__ import annotations

from typing import Final

from virtcard.wire.apdu import HEADER_BYTES, is_chained, is_proprietary, is_secured

_ANSWERS_DATA: Final = frozenset(
    {
        0x46,  # GENERATE ASYMMETRIC KEY PAIR
        0x47,
        0x86,  # GENERAL AUTHENTICATE
        0x87,
        0x88,  # INTERNAL AUTHENTICATE
        0xA0,  # SEARCH BINARY
        0xA1,
        0xA2,  # SEARCH RECORD
        0xB1,  # READ BINARY with an offset data object
        0xB3,  # READ RECORD with an offset data object
        0xC2,  # ENVELOPE
        0xC3,
        0xCA,  # GET DATA
        0xCB,
    }
)
"""Instructions that may answer data to data (ISO 7816-4 and 7816-8), apart from those that need a closer look."""

_SELECT: Final = 0xA4
_NO_FCI: Final = 0x0C
_PERFORM_SECURITY_OPERATION: Final = 0x2A
_AUTHENTICATE: Final = 0x82
_MUTUAL_BYTES: Final = 40
"""MUTUAL AUTHENTICATE of travel documents (ICAO 9303-11, 4.3.4); EXTERNAL AUTHENTICATE has the same INS, fewer bytes
and no answer, and a needless Le might cost the challenge."""


def lacks_le(command: bytes) -> bool:
    """A short command with data and without Le (case 3S) that by ISO 7816-4 answers data.

    T=0 has no place for Le behind data, so its guests strip it; a T=1 card may then keep its answer to itself. A
    proprietary class has instructions of its own, and in a chain only the last command answers.
    """
    if len(command) <= 5 or len(command) != 5 + command[4]:
        return False
    cla = command[0]
    if is_proprietary(cla) or is_chained(cla):
        return False
    return is_secured(cla) or _answers_data(command)


def _answers_data(command: bytes) -> bool:
    _, ins, p1, p2 = command[:HEADER_BYTES]
    if ins == _SELECT:
        return p2 & _NO_FCI != _NO_FCI
    if ins == _PERFORM_SECURITY_OPERATION:
        return p1 != 0
    if ins == _AUTHENTICATE:
        return command[4] == _MUTUAL_BYTES
    return ins in _ANSWERS_DATA
