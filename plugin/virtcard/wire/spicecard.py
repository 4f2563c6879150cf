"""VSCard inside SPICE: the same messages, with their header little-endian, each one the payload of a SPICE message.

What it carries is left as it is; an Error's code comes in QEMU's order or in the server's (`wire.vscard.parse_error`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import SMARTCARD_DATA, encode
from virtcard.wire.vscard import Message, MessageType

_HEADER: Final = Struct("<III")


def encode_card(message: Message) -> bytes:
    """A whole SPICE message."""
    header = _HEADER.pack(message.type, message.reader_id, len(message.payload))
    return encode(SMARTCARD_DATA, header + message.payload)


def parse_card(payload: bytes) -> Message:
    """The payload of SMARTCARD_DATA. Malformed unless the length in it says where it ends."""
    if len(payload) < _HEADER.size:
        raise Malformed("a VSCard message in SPICE is cut short")
    number, reader_id, untrusted_length = _HEADER.unpack_from(payload)
    if untrusted_length != len(payload) - _HEADER.size or untrusted_length > limits.VSCARD_PAYLOAD_MAX:
        raise Malformed("a VSCard message in SPICE does not end where it says")
    return Message(MessageType(number), reader_id, payload[_HEADER.size :])
