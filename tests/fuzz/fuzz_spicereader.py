"""A card's channel of a hostile SPICE server: nothing leaves that ends an honest one, and nothing long comes in."""

from __future__ import annotations

import json
from contextlib import suppress

from fuzz.choices import Choices
from virtcard import limits
from virtcard.bridge.spice.clients import parse_clients
from virtcard.bridge.spice.manners import Manners
from virtcard.bridge.spice.reader import Reader
from virtcard.domain.viewers import Crowd, read_channels, read_event
from virtcard.errors import Failed, PeerError
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import Decoder as SpiceDecoder
from virtcard.wire.spice import Message as SpiceMessage
from virtcard.wire.spicecard import parse_card
from virtcard.wire.vscard import Decoder, ErrorCode, Message, MessageType, parse_error

OURS = (1, 2, 3, 4, 5, 6, 7)
"""What a session sends."""


def check(data: bytes) -> None:
    """A session and a server that talk in turns, then the rest as what a monitor says."""
    choices = Choices(data)
    if choices.number() & 1:
        _converse(choices)
    else:
        _listen_to_monitor(choices.take(len(data)))


def _converse(choices: Choices) -> None:
    reader, manners, added = Reader(), Manners(), False
    while choices.left:
        if choices.number() & 1:
            message = Message(MessageType(choices.one_of(OURS)), 0, choices.block()[: limits.VSCARD_PAYLOAD_MAX])
            server, session = reader.from_session(message.encode())
            added = _check_sent(server, added)
        else:
            try:
                messages, answers = manners.feed(choices.block())
                server, session, added = _hear(reader, messages, added)
            except (Malformed, PeerError):
                return
            SpiceDecoder().feed(answers)
        for received in Decoder().feed(session):
            assert received.type != MessageType.APDU or len(received.payload) <= limits.SPICE_C_APDU_MAX


def _hear(reader: Reader, messages: list[SpiceMessage], added: bool) -> tuple[bytes, bytes, bool]:
    server, session = b"", b""
    for message in messages:
        to_server, to_session = reader.from_server(message)
        added = added or any(_is_success(found) for found in Decoder().feed(to_session))
        added = _check_sent(to_server, added)
        server += to_server
        session += to_session
    return server, session, added


def _is_success(message: Message) -> bool:
    if message.type != MessageType.ERROR:
        return False
    try:
        return parse_error(message.payload) == ErrorCode.SUCCESS
    except Malformed:
        return False


def _check_sent(data: bytes, added: bool) -> bool:
    """Whether the reader is added after these."""
    for message in SpiceDecoder().feed(data):
        card = parse_card(message.payload)
        assert added or card.type in {MessageType.READER_ADD, MessageType.APDU}
        if not added and card.type == MessageType.APDU:
            assert card.payload == bytes.fromhex("6700")
        added = added and card.type != MessageType.READER_REMOVE
    return added


def _listen_to_monitor(text: bytes) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    with suppress(Failed):
        assert all(session.place.isprintable() for session in parse_clients(value))
    crowd = Crowd()
    for event in read_channels(value) or ():
        crowd.take(event)
    read_event("SPICE_INITIALIZED", text.decode("utf-8", "replace"))
