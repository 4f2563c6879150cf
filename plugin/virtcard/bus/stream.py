"""The two ends of dbus-next's socket, mended: what it writes and what it reads."""

from __future__ import annotations

import logging
import socket
from io import BytesIO
from typing import Final, Protocol

from dbus_next._private.unmarshaller import MarshallerStreamEndError, Unmarshaller
from dbus_next.errors import InvalidMessageError
from dbus_next.message import Message
from dbus_next.signature import SignatureTree

log = logging.getLogger(__name__)

MESSAGE_MAX: Final = 128 * 1024 * 1024
"""Bytes, the D-Bus specification's own limit."""

SIGNATURES_MAX: Final = 1024
"""Parsed signatures kept. dbus-next keeps each one that a peer ever sent."""

_FIXED_HEADER: Final = 16
_NOTHING_MORE: Final = BytesIO()
"""What a message that lies about a length inside gets, in place of the next message."""
_ORDERS: Final = {ord("l"): "little", ord("B"): "big"}


class PatientSocket:
    """A socket whose `send` says 0 when it is full; dbus-next takes EAGAIN for the end of the connection.

    It stands in only where dbus-next writes without file descriptors, so `send` is all it needs.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes | memoryview) -> int:
        """Bytes taken, 0 when the socket is full: the caller then waits until it is writable."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0


class Readable(Protocol):
    """A non-blocking stream."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes; None when there are none now, b"" at the end."""


class WholeMessage(Unmarshaller):
    """One incoming message, read to its end before a byte of it is understood.

    So a message that dbus-next does not understand (a type or header field of a later specification) costs that
    message and not the connection: any user of the bus could send one.
    """

    def __init__(self, stream: Readable) -> None:
        super().__init__(stream)

    def fetch(self) -> bool:
        """Read on; True when the whole message is here. EOFError at the end of the connection."""
        self.offset = 0
        try:
            self.read(_FIXED_HEADER, prefetch=True)
            self.read(_message_length(bytes(self.buf[:_FIXED_HEADER])), prefetch=True)
        except MarshallerStreamEndError:
            return False
        return True

    def parse(self) -> Message | None:
        """The message, or None when it is to be ignored."""
        if len(SignatureTree._cache) > SIGNATURES_MAX:
            SignatureTree._cache.clear()
        self.stream = _NOTHING_MORE
        try:
            self._unmarshall()
        except Exception as error:  # noqa: BLE001 - whatever a peer sends, the connection stays
            log.warning("ignored a D-Bus message that does not parse: %s", type(error).__name__)
            return None
        return self.message


def _message_length(untrusted_header: bytes) -> int:
    """Bytes of the whole message (D-Bus specification, "Message Format")."""
    order = _ORDERS.get(untrusted_header[0])
    if order is None:
        raise InvalidMessageError("the byte order mark is wrong")
    number = int.from_bytes
    body = number(untrusted_header[4:8], order)  # type: ignore[arg-type]
    fields = number(untrusted_header[12:16], order)  # type: ignore[arg-type]
    length = _FIXED_HEADER + fields + (-fields % 8) + body
    if length > MESSAGE_MAX:
        raise InvalidMessageError("the message is too long")
    return length
