"""VSCard on the wire. Vectors: what QEMU 7.2 and vscclient (libcacard 2.8.0) exchange, layout of vscard_common.h."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.vscard import (
    UNDEFINED_READER_ID,
    Decoder,
    ErrorCode,
    Init,
    Message,
    MessageType,
    encode,
    encode_error,
    parse_error,
)

INIT = bytes.fromhex("00000001 ffffffff 0000000c 56534344 00000002 00000000")
ACK = bytes.fromhex("00000002 00000000 00000004 00000000")
VECTORS = [
    (INIT, Message(MessageType.INIT, UNDEFINED_READER_ID, Init().encode())),
    (ACK, Message(MessageType.ERROR, 0, bytes(4))),
    (bytes.fromhex("00000003 ffffffff 00000000"), Message(MessageType.READER_ADD, UNDEFINED_READER_ID)),
    (bytes.fromhex("00000004 00000000 00000000"), Message(MessageType.READER_REMOVE)),
    (
        bytes.fromhex("00000005 00000000 0000000f 3b7a18000073667465206364313434"),
        Message(MessageType.ATR, 0, bytes.fromhex("3b7a18000073667465206364313434")),
    ),
    (bytes.fromhex("00000006 00000000 00000000"), Message(MessageType.CARD_REMOVE)),
    (
        bytes.fromhex("00000007 00000000 0000000c 00a4040007a000000116db00"),
        Message(MessageType.APDU, 0, bytes.fromhex("00a4040007a000000116db00")),
    ),
]

messages = st.builds(
    Message,
    st.integers(0, 0xFFFF_FFFF).map(MessageType),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(max_size=300),
)


@pytest.mark.parametrize(("wire", "message"), VECTORS)
def test_vectors_encode(wire: bytes, message: Message) -> None:
    assert message.encode() == wire


@pytest.mark.parametrize(("wire", "message"), VECTORS)
def test_vectors_decode_whole_and_byte_by_byte(wire: bytes, message: Message) -> None:
    assert Decoder().feed(wire) == [message]
    decoder = Decoder()
    assert [found for byte in wire for found in decoder.feed(bytes((byte,)))] == [message]


@given(st.lists(messages, max_size=8), st.lists(st.integers(0, 3000), max_size=12))
def test_a_stream_decodes_however_it_is_cut(sent: list[Message], cuts: list[int]) -> None:
    stream = b"".join(message.encode() for message in sent)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder = Decoder()
    pieces = [stream[start:stop] for start, stop in pairwise(edges)]
    assert [message for piece in pieces for message in decoder.feed(piece)] == sent


@given(st.binary(max_size=600))
def test_noise_decodes_or_is_malformed(noise: bytes) -> None:
    decoder = Decoder()
    try:
        found = [message for byte in noise for message in decoder.feed(bytes((byte,)))]
    except Malformed:
        return
    assert sum(12 + len(message.payload) for message in found) <= len(noise)


def test_the_longest_payload_passes() -> None:
    longest = encode(MessageType.APDU, bytes(limits.VSCARD_PAYLOAD_MAX))
    assert len(longest) == 65_536
    assert Decoder().feed(longest)[0].payload == bytes(65_524)


def test_a_longer_payload_is_neither_sent_nor_awaited() -> None:
    with pytest.raises(Malformed):
        encode(MessageType.APDU, bytes(limits.VSCARD_PAYLOAD_MAX + 1))
    with pytest.raises(Malformed):
        Decoder().feed(bytes.fromhex("00000007 00000000 0000fff5"))


def test_a_huge_length_is_refused_with_the_last_byte_of_its_header() -> None:
    decoder = Decoder()
    assert decoder.feed(bytes.fromhex("00000007 00000000 ffffff")) == []
    with pytest.raises(Malformed):
        decoder.feed(b"\xff")


def test_unknown_types_and_codes_survive() -> None:
    (message,) = Decoder().feed(bytes.fromhex("00000063 00000007 00000000"))
    assert message.type == 99
    assert message.type.name == "UNKNOWN_99"
    assert message.encode() == bytes.fromhex("00000063 00000007 00000000")
    assert parse_error(bytes.fromhex("01000000")) == 0x0100_0000


def test_unknown_types_are_not_remembered() -> None:
    before = len(MessageType.__members__), len(MessageType._value2member_map_)
    for number in range(1000, 1100):
        MessageType(number)
    assert (len(MessageType.__members__), len(MessageType._value2member_map_)) == before


def test_error_codes_are_big_endian() -> None:
    assert encode_error(ErrorCode.GENERAL_ERROR, 7) == bytes.fromhex("00000002 00000007 00000004 00000001")
    assert parse_error(bytes.fromhex("00000003")) is ErrorCode.CARD_ALREADY_INSERTED


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", b"\0\0\0\0\0"])
def test_an_error_of_another_length_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        parse_error(payload)


@given(st.builds(Init, st.integers(0, 0xFFFF_FFFF), st.lists(st.integers(0, 0xFFFF_FFFF), min_size=1).map(tuple)))
def test_init_survives_the_wire(init: Init) -> None:
    assert Init.parse(init.encode()) == init


@pytest.mark.parametrize("payload", ["", "56534345 00000002 00000000", "56534344 00000002", "56534344 00000002 0000"])
def test_an_init_without_magic_or_cut_short_is_malformed(payload: str) -> None:
    with pytest.raises(Malformed):
        Init.parse(bytes.fromhex(payload))


def test_payloads_stay_out_of_the_repr() -> None:
    assert "payload" not in repr(Message(MessageType.APDU, 0, b"\x00\x20\x00\x801234"))
