"""VSCard, the protocol of QEMU's ccid-card-passthru: values to bytes and back (libcacard, src/vscard_common.h).

Every message is a header of three big-endian words (type, reader id, bytes of payload) and the payload. There is no
marker to find the way back by: after a wrong length the stream is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.openenum import OpenIntEnum

_HEADER: Final = Struct(">III")
_WORD: Final = Struct(">I")

HEADER_BYTES: Final = _HEADER.size
MAGIC: Final = b"VSCD"
VERSION: Final = 2
"""VSCARD_MAKE_VERSION(0, 0, 2)."""
UNDEFINED_READER_ID: Final = 0xFFFF_FFFF
FIRST_READER_ID: Final = 0
"""VSCARD_MINIMAL_READER_ID; ccid-card-passthru has one slot and knows no other."""


class MessageType(OpenIntEnum):
    """VSCMsgType."""

    INIT = 1
    ERROR = 2
    READER_ADD = 3
    READER_REMOVE = 4
    ATR = 5
    CARD_REMOVE = 6
    APDU = 7
    FLUSH = 8
    FLUSH_COMPLETE = 9


class ErrorCode(OpenIntEnum):
    """VSCErrorCode. SUCCESS in an Error message is how a control message is acknowledged."""

    SUCCESS = 0
    GENERAL_ERROR = 1
    CANNOT_ADD_MORE_READERS = 2
    CARD_ALREADY_INSERTED = 3


_TYPES: Final = {int(member): member for member in MessageType}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `payload` may hold an APDU, so it stays out of the repr."""

    type: MessageType
    reader_id: int = FIRST_READER_ID
    payload: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Header and payload."""
        return encode(self.type, self.payload, self.reader_id)


def encode(message_type: MessageType, payload: bytes = b"", reader_id: int = FIRST_READER_ID) -> bytes:
    """Header and payload; Malformed when the payload is longer than QEMU's input buffer holds."""
    if len(payload) > limits.VSCARD_PAYLOAD_MAX:
        raise Malformed("the payload of a VSCard message is too long for QEMU")
    return _HEADER.pack(message_type, reader_id, len(payload)) + payload


def encode_error(code: ErrorCode, reader_id: int = FIRST_READER_ID) -> bytes:
    """An Error message: from us, the answer to an APDU that the card could not give."""
    return encode(MessageType.ERROR, _WORD.pack(code), reader_id)


def parse_error(payload: bytes) -> ErrorCode:
    """The code of an Error message; Malformed unless it is one word.

    spice-server writes its own codes in the host's order, so only SUCCESS is sure to mean what it says.
    """
    if len(payload) != _WORD.size:
        raise Malformed("a VSCard Error does not hold one word")
    return ErrorCode(_WORD.unpack(payload)[0])


@dataclass(frozen=True, slots=True)
class Init:
    """The payload of an Init message (VSCMsgInit). No capability bit has a meaning yet."""

    version: int = VERSION
    capabilities: tuple[int, ...] = (0,)

    def encode(self) -> bytes:
        """Magic, version and capabilities: at least 12 bytes."""
        return MAGIC + b"".join(map(_WORD.pack, (self.version, *self.capabilities)))

    @classmethod
    def parse(cls, payload: bytes) -> Init:
        """Malformed without the magic, a version and at least one word of capabilities."""
        if payload[: len(MAGIC)] != MAGIC:
            raise Malformed("a VSCard Init does not begin with its magic")
        words, rest = divmod(len(payload), _WORD.size)
        if words < 3 or rest:
            raise Malformed("a VSCard Init is cut short")
        version, *capabilities = (word for (word,) in _WORD.iter_unpack(payload[len(MAGIC) :]))
        return cls(version, tuple(capabilities))


class Decoder:
    """A byte stream into messages, however it was cut. Holds at most one message and one `feed`."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes.

        Malformed when a header announces more than limits.VSCARD_PAYLOAD_MAX bytes, before waiting for them: the
        stream is lost then, with whatever else `data` held.
        """
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return []
            data = bytes(self._pending)
            self._pending.clear()
        messages = []
        start, end = 0, len(data)
        while (stop := start + HEADER_BYTES) <= end:
            number, reader_id, untrusted_length = _HEADER.unpack_from(data, start)
            if untrusted_length > limits.VSCARD_PAYLOAD_MAX:
                raise Malformed("a VSCard message announces more bytes than any can have")
            payload, stop = stop, stop + untrusted_length
            if stop > end:
                break
            messages.append(Message(_TYPES.get(number) or MessageType(number), reader_id, data[payload:stop]))
            start = stop
        if start < end:
            self._pending += data[start:]
            self._needed = stop - start
        return messages
