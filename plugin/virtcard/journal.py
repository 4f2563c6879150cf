"""Records to systemd's journal, with fields (its native protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL).

Without a journal each is a line on stderr.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping
from typing import Final

from virtcard.limits import JOURNAL_VALUE_MAX
from virtcard.names import MESSAGE_IDS, SYSLOG_IDENTIFIER
from virtcard.service.record import UNUSUAL, Record

SOCKET: Final = "/run/systemd/journal/socket"

_WARNING: Final = "4"
_NOTICE: Final = "5"


class Journal:
    """A way to the journal. `record` neither raises nor waits: a journal that takes nothing now gets nothing."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def record(self, record: Record) -> None:
        """Put a record into the journal, or on stderr."""
        try:
            self._socket.sendto(datagram(entry(record)), self._address)
        except OSError:
            print(line(record), file=sys.stderr, flush=True)


def entry(record: Record) -> dict[str, str]:
    """All fields of a record."""
    return {
        "MESSAGE": record.sentence,
        "MESSAGE_ID": MESSAGE_IDS[record.event],
        "PRIORITY": _WARNING if record.event in UNUSUAL else _NOTICE,
        "SYSLOG_IDENTIFIER": SYSLOG_IDENTIFIER,
        **record.fields(),
    }


def datagram(fields: Mapping[str, str]) -> bytes:
    """The fields as the journal takes them; a value with a line break is told by its length."""
    return b"".join(_field(name, value) for name, value in fields.items())


def line(record: Record) -> str:
    """A record on one line, without control characters."""
    fields = " ".join(f"{name}={value}" for name, value in record.fields().items())
    text = f"{record.sentence} {fields}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")[:JOURNAL_VALUE_MAX]
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
