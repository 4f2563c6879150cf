"""BER-TLV. Vectors: SP 800-73-4 part 1, table 9 (discovery object) and part 2, 3.1.1 (SELECT); ISO 7816-4, table 8."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.wire import tlv
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import Tlv

DISCOVERY = bytes.fromhex("7E124F0BA0000003080000100001005F2F024000")
PROPERTY_TEMPLATE = bytes.fromhex("61114F0600001000010079074F05A000000308")

tags = st.sampled_from((0x53, 0x5C, 0x61, 0x70, 0x7E, 0x5F2F, 0x7F49, 0x5FC105, 0x9F8101, 0xBF818101)) | (
    st.integers(0, 0xFE).filter(lambda tag: tag & 0x1F != 0x1F)
)
objects = st.builds(Tlv, tags, st.binary(max_size=300))


def test_the_discovery_object_is_read() -> None:
    assert tlv.find(DISCOVERY, 0x7E, 0x4F) == bytes.fromhex("A000000308000010000100")
    assert tlv.find(DISCOVERY, 0x7E, 0x5F2F) == bytes.fromhex("4000")
    assert tlv.build(0x7E, tlv.parse(DISCOVERY)[0].children()) == DISCOVERY


def test_a_nested_path_is_followed() -> None:
    assert tlv.find(PROPERTY_TEMPLATE, 0x61, 0x79, 0x4F) == bytes.fromhex("A000000308")
    assert tlv.find(PROPERTY_TEMPLATE, 0x61, 0x7F49) is None
    assert tlv.find(b"", 0x61) is None
    assert tlv.find(b"anything") == b"anything"


@given(st.lists(objects, max_size=6))
def test_objects_survive_the_wire(found: list[Tlv]) -> None:
    assert tlv.parse(b"".join(map(bytes, found))) == tuple(found)


@given(objects, st.binary(max_size=20))
def test_the_first_object_leaves_the_rest(first: Tlv, rest: bytes) -> None:
    assert tlv.parse_first(bytes(first) + rest) == (first, rest)


@given(objects)
def test_every_cut_object_is_malformed(whole: Tlv) -> None:
    wire = bytes(whole)
    for length in {0, 1, len(wire) // 2, len(wire) - 1} - {len(wire)}:
        with pytest.raises(Malformed):
            tlv.parse_first(wire[:length])


@given(st.binary(max_size=200))
def test_noise_is_malformed_or_accounts_for_every_byte(noise: bytes) -> None:
    try:
        found = tlv.parse(noise)
    except Malformed:
        return
    assert sum(len(bytes(one)) for one in found) <= len(noise)


@pytest.mark.parametrize(
    ("length", "encoded"),
    [
        (0, "00"),
        (0x7F, "7F"),
        (0x80, "8180"),
        (0xFF, "81FF"),
        (0x100, "820100"),
        (0xFFFF, "82FFFF"),
        (0x10000, "83010000"),
    ],
)
def test_the_shortest_length_is_built(length: int, encoded: str) -> None:
    wire = tlv.build(0x53, bytes(length))
    assert wire[1:].startswith(bytes.fromhex(encoded))
    assert tlv.find(wire, 0x53) == bytes(length)


def test_a_longer_length_than_needed_is_read() -> None:
    assert tlv.find(bytes.fromhex("53820001AA"), 0x53) == b"\xaa"


@pytest.mark.parametrize(
    "wire",
    [
        "53",
        "5380",
        "5385000000000A",
        "53FF",
        "5381",
        "538201",
        "5303AABB",
        "5F",
        "5FC1",
        "1F81818181 00",
        "5384FFFFFFFF00",
    ],
)
def test_broken_objects_are_malformed(wire: str) -> None:
    with pytest.raises(Malformed):
        tlv.parse(bytes.fromhex(wire))


@pytest.mark.parametrize("tag", [-1, 0x5F, 0x5FC1, 0x5301, 0x1_0000_0000])
def test_a_tag_that_is_none_is_not_built(tag: int) -> None:
    with pytest.raises(Malformed):
        tlv.build(tag, b"")


def test_values_stay_out_of_the_repr() -> None:
    assert "1234" not in repr(Tlv(0x80, b"1234"))
