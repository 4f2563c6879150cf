"""A capture as it comes from virtcardd: pcapng blocks, passed on whole, and counted on the way."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from virtcard.errors import Failed
from virtcard.limits import CAPTURE_BLOCK_MAX

_HEAD = struct.Struct("<II")
_PACKET = 6
_STATISTICS = 5
_OUTBOUND = 2
_FLAGS = struct.Struct("<HHI")
_FLAGS_CODE = 2
_DROPPED_CODE = 5
_PACKET_BODY = 28
"""Where the data of a packet begin: block header, interface, time, both lengths."""
_STATISTICS_OPTIONS = 20


class Capture:
    """Counts what passes. `commands` are the APDUs that a guest sent, `lost` the packets that nobody took in time."""

    def __init__(self) -> None:
        self.commands = 0
        self.lost = 0
        self._rest = b""

    def feed(self, untrusted_data: bytes) -> bytes:
        """The blocks that are whole now. A file of whole blocks is a capture wherever it ends."""
        self._rest += untrusted_data
        blocks = b"".join(self._blocks())
        self._rest = self._rest[len(blocks) :]
        return blocks

    def _blocks(self) -> Iterator[bytes]:
        at = 0
        while at + _HEAD.size <= len(self._rest):
            kind, untrusted_length = _HEAD.unpack_from(self._rest, at)
            if not 12 <= untrusted_length <= CAPTURE_BLOCK_MAX or untrusted_length % 4:
                raise Failed("virtcardd sent something that is no capture.")
            block = self._rest[at : at + untrusted_length]
            if len(block) < untrusted_length:
                return
            at += untrusted_length
            self._count(kind, block)
            yield block

    def _count(self, kind: int, block: bytes) -> None:
        if kind == _PACKET:
            self.commands += _direction(block) == _OUTBOUND
        elif kind == _STATISTICS:
            self.lost = _dropped(block)


def _direction(block: bytes) -> int:
    """The direction in the packet's flags, which virtcardd writes first; 0 for none."""
    length = int.from_bytes(block[20:24], "little")
    at = _PACKET_BODY + length + (-length % 4)
    if at + _FLAGS.size > len(block):
        return 0
    code, _, flags = _FLAGS.unpack_from(block, at)
    return int(flags & 3) if code == _FLAGS_CODE else 0


def _dropped(block: bytes) -> int:
    at = _STATISTICS_OPTIONS
    while at + 4 <= len(block):
        code, length = struct.unpack_from("<HH", block, at)
        if code == _DROPPED_CODE:
            return int.from_bytes(block[at + 4 : at + 4 + length], "little")
        at += 4 + length + (-length % 4)
    return 0
