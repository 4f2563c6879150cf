"""SPICE's messages on a channel that is linked, those that a card's client meets (spice-common, spice.proto).

A message has a mini header, type and bytes of payload, which both sides agree on when they link. All numbers are
little-endian. Below 100 a type is the same on every channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct, error
from typing import Final

from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.openenum import OpenIntEnum

_HEADER: Final = Struct("<HI")
_WORD: Final = Struct("<I")
_PING: Final = Struct("<IQ")
_SET_ACK: Final = Struct("<II")
_INIT: Final = Struct("<IIIIIIII")
_SWITCH_HOST: Final = Struct("<HHIIII")

HEADER_BYTES: Final = _HEADER.size
NO_PORT: Final = 0xFFFF
"""-1: the server has no such port."""


class ServerMessage(OpenIntEnum):
    """SPICE_MSG_*, on every channel."""

    MIGRATE = 1
    MIGRATE_DATA = 2
    SET_ACK = 3
    PING = 4
    WAIT_FOR_CHANNELS = 5
    DISCONNECTING = 6
    NOTIFY = 7


class MainMessage(OpenIntEnum):
    """SPICE_MSG_MAIN_*, from the server on the main channel."""

    MIGRATE_BEGIN = 101
    MIGRATE_CANCEL = 102
    INIT = 103
    CHANNELS_LIST = 104
    MIGRATE_SWITCH_HOST = 111
    MIGRATE_END = 112
    NAME = 113
    UUID = 114
    MIGRATE_BEGIN_SEAMLESS = 115


class ClientMessage(OpenIntEnum):
    """SPICE_MSGC_*, from us on every channel."""

    ACK_SYNC = 1
    ACK = 2
    PONG = 3
    MIGRATE_FLUSH_MARK = 4
    MIGRATE_DATA = 5
    DISCONNECTING = 6


class MainClientMessage(OpenIntEnum):
    """SPICE_MSGC_MAIN_*, from us on the main channel."""

    MIGRATE_CONNECT_ERROR = 103


SMARTCARD_DATA: Final = 101
"""SPICE_MSG_SMARTCARD_DATA and SPICE_MSGC_SMARTCARD_DATA: a VSCard message (`wire.spicecard`)."""

NEED_FLUSH: Final = 1
"""SPICE_MIGRATE_NEED_FLUSH, of the flags of MIGRATE."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `payload` may hold an APDU, so it stays out of the repr."""

    type: int
    payload: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Header and payload."""
        return encode(self.type, self.payload)


def encode(message_type: int, payload: bytes = b"") -> bytes:
    """Header and payload; Malformed when it is longer than any message may be."""
    if len(payload) > limits.SPICE_MESSAGE_MAX:
        raise Malformed("a SPICE message is too long")
    return _HEADER.pack(message_type, len(payload)) + payload


class Decoder:
    """A byte stream into messages, however it was cut. Holds at most one message and one `feed`."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes.

        Malformed when a header announces more than limits.SPICE_MESSAGE_MAX bytes, before waiting for them.
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
            number, untrusted_size = _HEADER.unpack_from(data, start)
            if untrusted_size > limits.SPICE_MESSAGE_MAX:
                raise Malformed("a SPICE message announces more bytes than any can have")
            payload, stop = stop, stop + untrusted_size
            if stop > end:
                break
            messages.append(Message(number, data[payload:stop]))
            start = stop
        if start < end:
            self._pending += data[start:]
            self._needed = stop - start
        return messages


@dataclass(frozen=True, slots=True)
class SetAck:
    """The server wants an ACK after every `window` messages, or none for 0."""

    generation: int
    window: int

    @classmethod
    def parse(cls, payload: bytes) -> SetAck:
        """Malformed when it is cut short."""
        return cls(*_unpack(_SET_ACK, payload, "SET_ACK"))

    def sync(self) -> bytes:
        """The ACK_SYNC that answers it."""
        return encode(ClientMessage.ACK_SYNC, _WORD.pack(self.generation))


def pong(ping: bytes) -> bytes:
    """The PONG for the payload of a PING: its id and time, without what it was filled up with."""
    return encode(ClientMessage.PONG, _PING.pack(*_unpack(_PING, ping, "PING")))


def parse_session_id(payload: bytes) -> int:
    """The first word of the main channel's INIT: by it further channels join the session."""
    return _unpack(_INIT, payload, "INIT")[0]


def parse_migrate(payload: bytes) -> int:
    """The flags of MIGRATE."""
    return _unpack(_WORD, payload, "MIGRATE")[0]


@dataclass(frozen=True, slots=True)
class SwitchHost:
    """Where the machine is now. Ports are NO_PORT when there is none."""

    host: str
    port: int
    tls_port: int

    @classmethod
    def parse(cls, payload: bytes) -> SwitchHost:
        """Malformed when the name is outside of the message, too long, or no name of a host."""
        port, tls_port, untrusted_size, untrusted_offset, _, _ = _unpack(_SWITCH_HOST, payload, "MIGRATE_SWITCH_HOST")
        if untrusted_size > limits.SPICE_HOST_MAX + 1 or untrusted_offset + untrusted_size > len(payload):
            raise Malformed("the host of a SPICE message is outside of it")
        name = payload[untrusted_offset : untrusted_offset + untrusted_size].rstrip(b"\0").decode("ascii", "replace")
        if not name or not all(c.isascii() and (c.isalnum() or c in ".-:_%") for c in name):
            raise Malformed("the host of a SPICE message is none")
        return cls(name, port, tls_port)


def _unpack(layout: Struct, payload: bytes, name: str) -> tuple[int, ...]:
    """Longer messages are newer ones, whose first fields mean the same."""
    try:
        return layout.unpack_from(payload)
    except error as fault:
        raise Malformed(f"a SPICE {name} is cut short") from fault
