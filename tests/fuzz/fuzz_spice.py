"""SPICE's decoders: a link and the messages behind it mean the same however they are cut, and little is kept."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from fuzz.choices import Choices
from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import (
    HEADER_BYTES,
    SMARTCARD_DATA,
    Decoder,
    MainMessage,
    Message,
    ServerMessage,
    SetAck,
    SwitchHost,
    parse_migrate,
    parse_session_id,
    pong,
)
from virtcard.wire.spicecard import encode_card, parse_card
from virtcard.wire.spicelink import LinkDecoder, LinkError, LinkReply

Linked = tuple[LinkReply | None, LinkError | None, list[Message], bool]
"""Reply, result, messages, and whether the stream was sound to its end."""

CUTS_MAX: Final = 64
"""More cuts find no more, and take most of the time."""


def check(data: bytes) -> None:
    """Whether there is a link before the messages, a block that says where to cut, and the stream."""
    choices = Choices(data)
    linked = bool(choices.number() & 1)
    cuts, stream = choices.block()[:CUTS_MAX], choices.take(len(data))
    whole = _decoded([stream], linked)
    parts = _decoded(_cut(stream, cuts), linked)
    assert whole[:2] == parts[:2]
    assert whole[3] == parts[3]
    assert parts[2] == whole[2] if whole[3] else parts[2][: len(whole[2])] == whole[2]
    for message in parts[2]:
        _check_message(message)


def _cut(stream: bytes, cuts: bytes) -> list[bytes]:
    parts = []
    for cut in cuts:
        parts.append(stream[:cut])
        stream = stream[cut:]
    return [*parts, stream]


def _decoded(parts: list[bytes], linked: bool) -> Linked:
    link, decoder = LinkDecoder(), Decoder()
    reply: LinkReply | None = None
    result: LinkError | None = None
    messages: list[Message] = []
    for part in parts:
        try:
            link.feed(part)
            if linked:
                reply = reply or link.reply()
                if reply is not None and result is None:
                    result = link.result()
            if result is not None or not linked:
                messages += decoder.feed(link.rest())
        except Malformed:
            return reply, result, messages, False
        assert len(decoder._pending) <= HEADER_BYTES + limits.SPICE_MESSAGE_MAX
        assert len(link._pending) <= limits.SPICE_LINK_MAX + len(part) + 16
    return reply, result, messages, True


def _check_message(message: Message) -> None:
    assert len(message.payload) <= limits.SPICE_MESSAGE_MAX
    assert Decoder().feed(message.encode()) == [message]
    with suppress(Malformed):
        _look(message)


def _look(message: Message) -> None:
    match message.type:
        case ServerMessage.SET_ACK:
            assert len(SetAck.parse(message.payload).sync()) == 10
        case ServerMessage.PING:
            assert len(pong(message.payload)) == 18
        case ServerMessage.MIGRATE:
            assert parse_migrate(message.payload) >= 0
        case MainMessage.INIT:
            assert 0 <= parse_session_id(message.payload) <= 0xFFFF_FFFF
        case MainMessage.MIGRATE_SWITCH_HOST:
            host = SwitchHost.parse(message.payload).host
            assert host.isprintable()
            assert len(host) <= limits.SPICE_HOST_MAX + 1
        case _ if message.type == SMARTCARD_DATA:
            assert encode_card(parse_card(message.payload)) == message.encode()
