"""SPICE on the wire. Vectors: what spice-server 0.15.1 in QEMU 7.2 sends, layouts of spice/protocol.h, spice.proto."""

from __future__ import annotations

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import (
    Decoder,
    Message,
    SetAck,
    SwitchHost,
    encode,
    parse_migrate,
    parse_session_id,
    pong,
)
from virtcard.wire.spicecard import encode_card, parse_card
from virtcard.wire.spicelink import (
    Capability,
    ChannelType,
    LinkDecoder,
    LinkError,
    LinkReply,
    encode_link,
    encode_ticket,
)
from virtcard.wire.vscard import Message as CardMessage
from virtcard.wire.vscard import MessageType

KEY = bytes.fromhex(
    "30819f300d06092a864886f70d010101050003818d0030818902818100cc17f4e5c516b05223f8801262a0f00df42e78964c4fd3f52f0dd6"
    "cb83201b30f1e99f1950b93c41ce3e325b7d0f0c11609df5ed2765565d5c32ff4f88b42bf4744ecc482820bcfc9c81faaaada9eab0e5226c"
    "4037aeba9c158860140ecfdba7572e2d018289ca11fbc170153f210a516e7eb34d2ca578c2cf37277962bc00530203010001"
)
OK = bytes.fromhex("00000000")
DENIED = bytes.fromhex("07000000")


def reply(
    *, error: int = 0, key: bytes = KEY, common: int = 1, own: int = 1, offset: int = 178, caps: str = "0b0f"
) -> bytes:
    """A server's link reply; `caps` are the low bytes of the words of capabilities."""
    words = b"".join(pack("<I", byte) for byte in bytes.fromhex(caps))
    body = pack("<I", error) + key + pack("<III", common, own, offset) + words
    return b"REDQ" + pack("<III", 2, 2, len(body)) + body


messages = st.builds(Message, st.integers(0, 0xFFFF), st.binary(max_size=300))
card_messages = st.builds(
    CardMessage, st.integers(0, 0xFFFF_FFFF).map(MessageType), st.integers(0, 0xFFFF_FFFF), st.binary(max_size=300)
)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(at, len(stream)) for at in cuts), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(edges)]


# The link.


def test_the_first_words_on_the_main_channel_and_on_a_card_s() -> None:
    assert encode_link(ChannelType.MAIN, 0) == bytes.fromhex(
        "52454451 02000000 02000000 16000000 00000000 01 00 01000000 00000000 12000000 0b000000"
    )
    assert encode_link(ChannelType.SMARTCARD, 0xA30C08C0)[16:24] == bytes.fromhex("c0080ca3 08 00 0100")


def test_a_reply_tells_the_key_and_the_capabilities() -> None:
    decoder = LinkDecoder()
    decoder.feed(reply())
    assert decoder.reply() == LinkReply(LinkError.OK, KEY, (0x0B,))
    found = LinkReply(LinkError.OK, KEY, (0x0B,))
    assert [found.can(capability) for capability in Capability] == [True, True, False, True]


@given(st.lists(st.integers(0, 220), max_size=8))
def test_reply_result_and_messages_are_told_apart_however_they_are_cut(cuts: list[int]) -> None:
    decoder, found = LinkDecoder(), None
    result = None
    behind = encode(3, bytes(8))
    for piece in cut(reply() + OK + behind, cuts):
        decoder.feed(piece)
        found = found or decoder.reply()
        if found and result is None:
            result = decoder.result()
    assert (found and found.public_key, result, decoder.rest()) == (KEY, LinkError.OK, behind)


def test_a_link_byte_by_byte() -> None:
    decoder = LinkDecoder()
    *most, last = reply()
    for byte in most:
        decoder.feed(bytes((byte,)))
        assert decoder.reply() is None
    decoder.feed(bytes((last,)))
    assert decoder.reply() is not None
    for byte in DENIED[:3]:
        decoder.feed(bytes((byte,)))
        assert decoder.result() is None
    decoder.feed(DENIED[3:])
    assert decoder.result() is LinkError.PERMISSION_DENIED


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH",
        b"R\0",
        b"REDQ" + pack("<III", 1, 0, 178),
        b"REDQ" + pack("<III", 2, 2, 4097),
        b"REDQ" + pack("<III", 2, 2, 177) + bytes(177),
        reply(common=65),
        reply(own=0xFFFF_FFFF),
        reply(offset=177),
        reply(offset=179),
        reply(offset=0xFFFF_FFFF),
        reply(common=3),
    ],
)
def test_what_is_no_reply_is_malformed(data: bytes) -> None:
    decoder = LinkDecoder()
    decoder.feed(data)
    with pytest.raises(Malformed):
        decoder.reply()


def test_a_refusal_comes_without_capabilities() -> None:
    decoder = LinkDecoder()
    decoder.feed(reply(error=5, key=bytes(162), common=0, own=0, offset=0, caps=""))
    found = decoder.reply()
    assert found is not None
    assert found.error is LinkError.NEED_SECURED
    assert not found.can(Capability.MINI_HEADER)


@given(st.binary(max_size=600))
def test_noise_is_a_reply_none_yet_or_malformed(noise: bytes) -> None:
    decoder = LinkDecoder()
    try:
        for byte in noise:
            decoder.feed(bytes((byte,)))
            if decoder.reply() is not None:
                return
    except Malformed:
        return
    assert len(decoder.rest()) == len(noise)


def test_a_ticket_has_the_length_of_the_key() -> None:
    assert encode_ticket(bytes(128)) == bytes.fromhex("01000000") + bytes(128)
    with pytest.raises(Malformed):
        encode_ticket(bytes(127))


def test_keys_stay_out_of_the_repr() -> None:
    assert "public_key" not in repr(LinkReply(LinkError.OK, KEY))


# Messages.


def test_a_message_has_a_mini_header() -> None:
    wire = bytes.fromhex("0400 0c000000 01000000a255db8f04000000")
    assert Message(4, wire[6:]).encode() == wire
    assert Decoder().feed(wire) == [Message(4, wire[6:])]


@given(st.lists(messages, max_size=8), st.lists(st.integers(0, 3000), max_size=12))
def test_a_stream_decodes_however_it_is_cut(sent: list[Message], cuts: list[int]) -> None:
    decoder = Decoder()
    pieces = cut(b"".join(message.encode() for message in sent), cuts)
    assert [message for piece in pieces for message in decoder.feed(piece)] == sent


@given(st.lists(messages, max_size=4))
def test_a_stream_decodes_byte_by_byte(sent: list[Message]) -> None:
    stream = b"".join(message.encode() for message in sent)
    decoder = Decoder()
    assert [message for byte in stream for message in decoder.feed(bytes((byte,)))] == sent


def test_the_longest_message_passes_and_a_longer_one_is_neither_sent_nor_awaited() -> None:
    longest = bytes(limits.SPICE_MESSAGE_MAX)
    assert Decoder().feed(encode(4, longest)) == [Message(4, longest)]
    with pytest.raises(Malformed):
        encode(4, longest + b"\0")
    with pytest.raises(Malformed):
        Decoder().feed(pack("<HI", 4, limits.SPICE_MESSAGE_MAX + 1))


def test_the_ping_that_measures_the_network_is_answered_by_its_first_twelve_bytes() -> None:
    ping = bytes.fromhex("03000000d458db8f04000000") + bytes(256_000)
    assert pong(ping) == bytes.fromhex("0300 0c000000 03000000d458db8f04000000")


def test_an_ack_window_is_acknowledged() -> None:
    wanted = SetAck.parse(bytes.fromhex("07000000 14000000"))
    assert wanted == SetAck(7, 20)
    assert wanted.sync() == bytes.fromhex("0100 04000000 07000000")


def test_init_tells_the_session() -> None:
    init = bytes.fromhex("c0080ca3000000000100000001000000000000000a00000018f72a0100000000")
    assert parse_session_id(init) == 0xA30C08C0


def test_migrate_tells_its_flags() -> None:
    assert parse_migrate(bytes.fromhex("03000000")) == 3


def test_switch_host_tells_where_the_machine_went() -> None:
    message = pack("<HHIIII", 5900, 0xFFFF, 14, 20, 0, 0) + b"other.example\0"
    assert SwitchHost.parse(message) == SwitchHost("other.example", 5900, 0xFFFF)


@pytest.mark.parametrize(
    ("size", "offset", "host"),
    [
        (14, 21, b"other.example\0"),
        (0xFFFF_FFFF, 20, b"other.example\0"),
        (257, 20, b"a" * 257),
        (0, 20, b""),
        (6, 20, b"a\nb\x1bc\0"),
        (3, 20, b"a b"),
        (2, 20, "é".encode()),
    ],
)
def test_a_host_that_is_none_is_malformed(size: int, offset: int, host: bytes) -> None:
    with pytest.raises(Malformed):
        SwitchHost.parse(pack("<HHIIII", 5900, 5901, size, offset, 0, 0) + host)


@pytest.mark.parametrize("parse", [SetAck.parse, pong, parse_session_id, parse_migrate, SwitchHost.parse])
def test_a_message_that_is_cut_short_is_malformed(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(Malformed):
        parse(bytes(3))


# VSCard within.


def test_a_card_message_is_little_endian() -> None:
    add = CardMessage(MessageType.READER_ADD, 0xFFFF_FFFF)
    assert encode_card(add) == bytes.fromhex("6500 0c000000 03000000 ffffffff 00000000")
    assert parse_card(bytes.fromhex("02000000 00000000 04000000 00000000")) == CardMessage(
        MessageType.ERROR, 0, bytes(4)
    )


@given(card_messages)
def test_a_card_message_survives_the_wire(message: CardMessage) -> None:
    (outer,) = Decoder().feed(encode_card(message))
    assert outer.type == 101
    assert parse_card(outer.payload) == message


@pytest.mark.parametrize("payload", ["", "0700000000000000", "070000000000000001000000", "07000000000000000000000000"])
def test_a_card_message_ends_where_it_says(payload: str) -> None:
    with pytest.raises(Malformed):
        parse_card(bytes.fromhex(payload))


def test_payloads_stay_out_of_the_repr() -> None:
    assert "payload" not in repr(Message(101, bytes.fromhex("00200080")))
