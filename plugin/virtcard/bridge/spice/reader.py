"""Between a session, which speaks VSCard with ccid-card-passthru, and SPICE's smart card channel, sans-IO.

spice-server stands in between there: it says Init to nobody, adds and removes readers itself, and believes its client
(smartcard-channel-client.cpp). A message for a reader that was not added reaches a null pointer or an assertion, and
either ends QEMU. So nothing but ReaderAdd leaves here before the server has acknowledged one.
"""

from __future__ import annotations

from typing import Final

from virtcard import limits
from virtcard.errors import PeerError
from virtcard.wire.apdu import Sw
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import SMARTCARD_DATA
from virtcard.wire.spice import Message as SpiceMessage
from virtcard.wire.spicecard import encode_card, parse_card
from virtcard.wire.vscard import (
    UNDEFINED_READER_ID,
    Decoder,
    ErrorCode,
    Init,
    Message,
    MessageType,
    encode_error,
    parse_error,
)

_ACKNOWLEDGED: Final = encode_error(ErrorCode.SUCCESS)
_WELCOME: Final = Message(MessageType.INIT, UNDEFINED_READER_ID, Init().encode()).encode()
_WRONG_LENGTH: Final = Sw.WRONG_LENGTH.to_bytes(2, "big")


class Reader:
    """The one reader of a smart card channel. Each call gives bytes for the server, and bytes for the session."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._adding = False
        self._added = False
        self._unanswered = 0

    def from_session(self, data: bytes) -> tuple[bytes, bytes]:
        """What the session sends: whole messages."""
        server, session = b"", b""
        for message in self._decoder.feed(data):
            match message.type:
                case MessageType.INIT:
                    session += _WELCOME
                case MessageType.READER_ADD:
                    self._adding = True
                    server += encode_card(message)
                case MessageType.READER_REMOVE if not self._added:
                    session += _ACKNOWLEDGED
                case _ if self._added:
                    server += self._pass_on(message)
        return server, session

    def from_server(self, message: SpiceMessage) -> tuple[bytes, bytes]:
        """What the server sends; Malformed, or PeerError when it lets us have no reader."""
        if message.type != SMARTCARD_DATA:
            return b"", b""
        card = parse_card(message.payload)
        if card.type == MessageType.APDU:
            return self._on_apdu(card)
        if card.type == MessageType.ERROR and self._adding:
            self._on_added(card)
        return b"", card.encode()

    def _pass_on(self, message: Message) -> bytes:
        if message.type in {MessageType.APDU, MessageType.ERROR}:
            self._unanswered = max(0, self._unanswered - 1)
        elif message.type == MessageType.READER_REMOVE:
            self._added = False
        return encode_card(message)

    def _on_added(self, message: Message) -> None:
        self._adding = False
        if parse_error(message.payload) != ErrorCode.SUCCESS:
            raise PeerError(
                "The SPICE server has no free reader: another client's card is in.",
                hint="Wait until the viewer that shares its smart cards is gone.",
            )
        self._added = True

    def _on_apdu(self, message: Message) -> tuple[bytes, bytes]:
        """A longer command than spice-server's own buffer: the guest is told so, and the card never sees it."""
        if len(message.payload) <= limits.SPICE_C_APDU_MAX:
            self._unanswered += 1
            return b"", message.encode()
        if self._unanswered:
            raise Malformed("a command that is too long came before the last one was answered")
        return encode_card(Message(MessageType.APDU, message.reader_id, _WRONG_LENGTH)), b""
