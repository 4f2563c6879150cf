"""Captures as Wireshark opens them: pcapng (draft-ietf-opsawg-pcapng) with APDUs for its ISO 7816 dissector.

An APDU is a "Wireshark Upper PDU" (LINKTYPE 252): the name of the dissector and the direction, in tags (Wireshark,
wsutil/exported_pdu_tlvs.h), and then its bytes.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final

UPPER_PDU: Final = 252

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_STATISTICS: Final = 5
_ENHANCED_PACKET: Final = 6

_BYTE_ORDER: Final = 0x1A2B3C4D
_UNKNOWN_LENGTH: Final = -1
_MICROSECONDS: Final = b"\x06"

_COMMENT: Final = 1
_APPLICATION: Final = 4
_NAME: Final = 2
_RESOLUTION: Final = 9
_FLAGS: Final = 2
_DROPPED: Final = 4
_RECEIVED_IN_ALL: Final = 4
_DROPPED_IN_ALL: Final = 5

_TAG_DISSECTOR: Final = 12
_TAG_DIRECTION: Final = 35


class Packet(Enum):
    """What a packet holds: its dissector, and the direction in the PDU's tag and in the packet's flags."""

    COMMAND = (b"iso7816", 0, 2)
    RESPONSE = (b"iso7816", 1, 1)
    ATR = (b"iso7816.atr", 1, 1)


def header(application: str, interface: str) -> bytes:
    """The beginning of a capture with one interface; `interface` is its name."""
    section = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH) + _options((_APPLICATION, application.encode()))
    name = (_NAME, interface.encode(errors="replace")[:255])
    described = struct.pack("<HHI", UPPER_PDU, 0, 0) + _options(name, (_RESOLUTION, _MICROSECONDS))
    return _block(_SECTION_HEADER, section) + _block(_INTERFACE, described)


def packet(kind: Packet, data: bytes, time: int, comment: str, dropped: int = 0) -> bytes:
    """One APDU or ATR. `time` is microseconds since the epoch; `dropped` were lost between the one before and this."""
    dissector, direction, flags = kind.value
    pdu = _tag(_TAG_DISSECTOR, dissector) + _tag(_TAG_DIRECTION, struct.pack(">I", direction)) + _tag(0, b"") + data
    fixed = struct.pack("<IIIII", 0, time >> 32, time & 0xFFFF_FFFF, len(pdu), len(pdu))
    options = [(_FLAGS, struct.pack("<I", flags)), (_COMMENT, comment.encode())]
    options += [(_DROPPED, struct.pack("<Q", dropped))] if dropped else []
    return _block(_ENHANCED_PACKET, fixed + _padded(pdu) + _options(*options))


def statistics(time: int, received: int, dropped: int) -> bytes:
    """The end of a capture: how many packets there were for it, and how many of them were lost."""
    counts = ((_RECEIVED_IN_ALL, struct.pack("<Q", received)), (_DROPPED_IN_ALL, struct.pack("<Q", dropped)))
    return _block(_STATISTICS, struct.pack("<III", 0, time >> 32, time & 0xFFFF_FFFF) + _options(*counts))


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in (*options, (0, b"")))


def _tag(code: int, value: bytes) -> bytes:
    value = _padded(value)
    return struct.pack(">HH", code, len(value)) + value


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)
