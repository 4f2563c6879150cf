"""BER-TLV: what can be read keeps its meaning when it is written again."""

from __future__ import annotations

from typing import Final

from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import Tlv, build, find, parse, parse_first

LOOKED_UP: Final = 16
"""Objects that are looked for one by one: thousands of them take most of the time, and find no more."""


def check(data: bytes) -> None:
    """`data` as data objects, and as what the first of them holds."""
    try:
        found = parse(data)
    except Malformed:
        _check_first(data)
        return
    assert sum(len(tlv.value) for tlv in found) <= len(data)
    written = b"".join(map(bytes, found))
    assert len(written) <= len(data)
    assert parse(written) == found
    for tlv in found[:LOOKED_UP]:
        assert find(data, tlv.tag) == next(other.value for other in found if other.tag == tlv.tag)
        _check_children(tlv)


def _check_first(data: bytes) -> None:
    try:
        first, rest = parse_first(data)
    except Malformed:
        return
    assert data.endswith(rest)
    assert parse(bytes(first)) == (first,)


def _check_children(tlv: Tlv) -> None:
    try:
        children = tlv.children()
    except Malformed:
        return
    assert parse(build(tlv.tag, children))[0].tag == tlv.tag
