"""BER-TLV as smart cards use it (ISO 7816-4, 6.3; ISO/IEC 8825-1): definite lengths, tags as they stand on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from virtcard.wire.malformed import Malformed

TAG_BYTES_MAX: Final = 4
LENGTH_BYTES_MAX: Final = 4
"""Bytes behind the first of a long length; ISO 7816-4 ends there, too."""

_NUMBER_FOLLOWS: Final = 0x1F
_MORE: Final = 0x80


@dataclass(frozen=True, slots=True)
class Tlv:
    """A data object. The tag is its wire bytes as a number (0x5FC105); the value stays out of the repr."""

    tag: int
    value: bytes = field(default=b"", repr=False)

    def __bytes__(self) -> bytes:
        return build(self.tag, self.value)

    def children(self) -> tuple[Tlv, ...]:
        """The data objects in the value; Malformed when it holds something else."""
        return parse(self.value)


def build(tag: int, value: bytes | Iterable[Tlv] = b"") -> bytes:
    """A data object with the shortest length; Malformed when the tag is none."""
    content = value if isinstance(value, bytes) else b"".join(map(bytes, value))
    return _tag_bytes(tag) + _length_bytes(len(content)) + content


def parse(data: bytes) -> tuple[Tlv, ...]:
    """The data objects that fill `data` to its last byte; Malformed when they do not."""
    found = []
    position = 0
    while position < len(data):
        tlv, position = _parse_at(data, position)
        found.append(tlv)
    return tuple(found)


def parse_first(data: bytes) -> tuple[Tlv, bytes]:
    """The first data object, and what follows it; Malformed when it is cut or its length is not definite."""
    tlv, end = _parse_at(data, 0)
    return tlv, data[end:]


def find(data: bytes, *path: int) -> bytes | None:
    """The value at the end of a path of tags, each the first of its name; None when there is none."""
    for tag in path:
        match = next((tlv.value for tlv in parse(data) if tlv.tag == tag), None)
        if match is None:
            return None
        data = match
    return data


def _parse_at(data: bytes, begin: int) -> tuple[Tlv, int]:
    """The data object at `begin`, and where it ends."""
    tag_end = _tag_end(data, begin)
    untrusted_length, start = _parse_length(data, tag_end)
    end = start + untrusted_length
    if end > len(data):
        raise Malformed("a data object ends inside its value")
    return Tlv(int.from_bytes(data[begin:tag_end], "big"), data[start:end]), end


def _tag_end(data: bytes, begin: int) -> int:
    if begin >= len(data):
        raise Malformed("a data object is missing")
    if data[begin] & _NUMBER_FOLLOWS != _NUMBER_FOLLOWS:
        return begin + 1
    for position in range(begin + 1, min(begin + TAG_BYTES_MAX, len(data))):
        if not data[position] & _MORE:
            return position + 1
    raise Malformed("the tag of a data object is cut short or too long")


def _parse_length(data: bytes, start: int) -> tuple[int, int]:
    """The length, and where the value begins."""
    if start >= len(data):
        raise Malformed("a data object ends before its length")
    first = data[start]
    if first < _MORE:
        return first, start + 1
    count = first & ~_MORE
    end = start + 1 + count
    if not 1 <= count <= LENGTH_BYTES_MAX or end > len(data):
        raise Malformed("the length of a data object is cut short, too long or indefinite")
    return int.from_bytes(data[start + 1 : end], "big"), end


def _tag_bytes(tag: int) -> bytes:
    if not 0 <= tag < 1 << 8 * TAG_BYTES_MAX:
        raise Malformed("a tag has one to four bytes")
    encoded = tag.to_bytes(max(1, (tag.bit_length() + 7) // 8), "big")
    if _tag_end(encoded, 0) != len(encoded):
        raise Malformed("the bytes of a tag do not fit together")
    return encoded


def _length_bytes(length: int) -> bytes:
    if length < _MORE:
        return bytes((length,))
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((_MORE | len(encoded),)) + encoded
