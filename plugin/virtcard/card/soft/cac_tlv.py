"""Simple-TLV and the two buffers of a CAC object (GSC-IS 2.1).

An object is a row of values with one-byte tags. A card keeps it as two buffers, each with its length in front (two
bytes, little-endian): the T-buffer has tags and lengths, the V-buffer the values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from virtcard.wire.malformed import Malformed

LONG: Final = 0xFF
"""In place of a length: the length follows in two bytes, little-endian."""
BUFFER_MAX: Final = 0xFFFF

Field = tuple[int, bytes]
"""A tag and its value."""


def field(tag: int, value: bytes = b"") -> bytes:
    """One data object, tag, length and value."""
    return head(tag, len(value)) + value


def head(tag: int, length: int) -> bytes:
    """Tag and length; Malformed when they do not fit."""
    if not (0 < tag < LONG and 0 <= length <= BUFFER_MAX):
        raise Malformed("a Simple-TLV has tags from 01 to FE and at most 65,535 bytes")
    return bytes((tag, length)) if length < LONG else bytes((tag, LONG)) + length.to_bytes(2, "little")


def t_buffer(fields: Iterable[Field]) -> bytes:
    """Tags and lengths, with their own length in front."""
    return _counted(b"".join(head(tag, len(value)) for tag, value in fields))


def v_buffer(fields: Iterable[Field]) -> bytes:
    """The values, with their length in front."""
    return _counted(b"".join(value for _, value in fields))


def _counted(content: bytes) -> bytes:
    if len(content) > BUFFER_MAX:
        raise Malformed("a buffer of a CAC object has at most 65,535 bytes")
    return len(content).to_bytes(2, "little") + content
