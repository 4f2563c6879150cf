"""The first words on every SPICE channel, until client and server agree (spice-protocol, spice/protocol.h).

Client: header and link message. Server: header and reply with an RSA key. Client: how it authenticates, and the
password, encrypted with that key. Server: the result. All numbers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.openenum import OpenIntEnum

_HEADER: Final = Struct("<4sIII")
_LINK: Final = Struct("<IBBIII")
_REPLY: Final = Struct("<I162sIII")
_WORD: Final = Struct("<I")

MAGIC: Final = b"REDQ"
VERSION: Final = (2, 2)
"""Major and minor; a server refuses another major."""
RESULT_BYTES: Final = _WORD.size
TICKET_BYTES: Final = 128
"""A password, encrypted with RSA-1024."""


class ChannelType(OpenIntEnum):
    """SPICE_CHANNEL_*: those that mean something here."""

    MAIN = 1
    SMARTCARD = 8


class Capability(OpenIntEnum):
    """SPICE_COMMON_CAP_*, as numbers of bits."""

    AUTH_SELECTION = 0
    AUTH_SPICE = 1
    AUTH_SASL = 2
    MINI_HEADER = 3


class LinkError(OpenIntEnum):
    """SPICE_LINK_ERR_*."""

    OK = 0
    ERROR = 1
    INVALID_MAGIC = 2
    INVALID_DATA = 3
    VERSION_MISMATCH = 4
    NEED_SECURED = 5
    NEED_UNSECURED = 6
    PERMISSION_DENIED = 7
    BAD_CONNECTION_ID = 8
    CHANNEL_NOT_AVAILABLE = 9


OURS: Final = (Capability.AUTH_SELECTION, Capability.AUTH_SPICE, Capability.MINI_HEADER)
"""What we can, on every channel. None of the main channel's own: a server then expects nothing of us when the machine
migrates."""


def encode_link(channel: ChannelType, connection_id: int, channel_id: int = 0) -> bytes:
    """Header and SpiceLinkMess. `connection_id` is 0 for a session of its own, or that of the session to join."""
    message = _LINK.pack(connection_id, channel, channel_id, 1, 0, _LINK.size)
    message += _WORD.pack(sum(1 << bit for bit in OURS))
    return _HEADER.pack(MAGIC, *VERSION, len(message)) + message


def encode_ticket(encrypted: bytes) -> bytes:
    """SpiceLinkAuthMechanism and the encrypted password; Malformed unless it has TICKET_BYTES."""
    if len(encrypted) != TICKET_BYTES:
        raise Malformed("a SPICE ticket of another length")
    return _WORD.pack(Capability.AUTH_SPICE) + encrypted


@dataclass(frozen=True, slots=True)
class LinkReply:
    """SpiceLinkReply: `public_key` is a SubjectPublicKeyInfo in DER, all zeros when there is an error."""

    error: LinkError
    public_key: bytes = field(repr=False)
    common: tuple[int, ...] = ()
    """Words of capabilities."""

    def can(self, capability: Capability) -> bool:
        """The server has it."""
        word, bit = divmod(capability, 32)
        return word < len(self.common) and bool(self.common[word] >> bit & 1)

    @classmethod
    def parse(cls, data: bytes) -> LinkReply:
        """Malformed when it is cut short, or its capabilities are not where it says."""
        if len(data) < _REPLY.size:
            raise Malformed("a SPICE link reply is cut short")
        error, key, common, of_channel, untrusted_offset = _REPLY.unpack_from(data)
        if max(common, of_channel) > limits.SPICE_CAPABILITIES_MAX:
            raise Malformed("a SPICE link reply announces more capabilities than there can be")
        words = common + of_channel
        if words and not _REPLY.size <= untrusted_offset <= len(data) - words * _WORD.size:
            raise Malformed("the capabilities of a SPICE link reply are outside of it")
        return cls(LinkError(error), key, tuple(_words(data, untrusted_offset, common)))


def parse_result(data: bytes) -> LinkError:
    """SPICE's answer to the ticket; Malformed unless it is one word."""
    if len(data) != RESULT_BYTES:
        raise Malformed("a SPICE link result does not hold one word")
    return LinkError(_WORD.unpack(data)[0])


def _words(data: bytes, offset: int, count: int) -> list[int]:
    return [_WORD.unpack_from(data, offset + index * _WORD.size)[0] for index in range(count)]


class LinkDecoder:
    """The server's side of a link out of a stream, however it was cut: first its reply, then its result."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> None:
        """More bytes. There is no bound here: what is fed is what was received at once, and `reply` bounds the rest."""
        self._pending += data

    def reply(self) -> LinkReply | None:
        """The reply, None when it is not whole yet. Malformed as soon as it can be none."""
        if len(self._pending) < _HEADER.size:
            if not MAGIC.startswith(self._pending[: len(MAGIC)]):
                raise Malformed("who answers does not speak SPICE")
            return None
        magic, major, _minor, untrusted_size = _HEADER.unpack_from(self._pending)
        if magic != MAGIC:
            raise Malformed("who answers does not speak SPICE")
        if major != VERSION[0]:
            raise Malformed("who answers speaks another version of SPICE")
        if untrusted_size > limits.SPICE_LINK_MAX:
            raise Malformed("a SPICE link reply announces more bytes than any can have")
        body = self._take(_HEADER.size, untrusted_size)
        return None if body is None else LinkReply.parse(body)

    def result(self) -> LinkError | None:
        """The result, None when it is not whole yet."""
        word = self._take(0, RESULT_BYTES)
        return None if word is None else parse_result(word)

    def rest(self) -> bytes:
        """What came behind: messages of the channel."""
        rest, self._pending = bytes(self._pending), bytearray()
        return rest

    def _take(self, skip: int, size: int) -> bytes | None:
        if len(self._pending) < skip + size:
            return None
        taken = bytes(self._pending[skip : skip + size])
        del self._pending[: skip + size]
        return taken
