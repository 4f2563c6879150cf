"""A relay in front of QEMU's card socket that keeps every VSCard message of both sides, in order.

Written from vscard_common.h alone, so that it judges our own encoder.
"""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from helpers.waiting import wait_until

HEADER: Final = struct.Struct(">III")
INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU = range(1, 8)
UNDEFINED: Final = 0xFFFFFFFF
CLIENT, QEMU = "client", "qemu"


@dataclass(frozen=True, slots=True)
class Passed:
    """A message that went by, with the side that sent it."""

    sender: str
    type: int
    reader_id: int
    payload: bytes


@dataclass(slots=True)
class Recorder:
    """Listens on a TCP port of loopback for one client, and goes to QEMU with it."""

    qemu: Path
    messages: list[Passed] = field(default_factory=list)
    _server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _taken: int = 0

    def __post_init__(self) -> None:
        threading.Thread(target=self._relay, name="wire-recorder", daemon=True).start()

    @property
    def port(self) -> int:
        """Where the client shall go."""
        number: int = self._server.getsockname()[1]
        return number

    def next(self, count: int, timeout: float = 20.0) -> list[Passed]:
        """The next messages, as soon as there are so many; more than these must not have come."""
        wait_until(lambda: len(self.messages) >= self._taken + count, timeout, f"{count} messages on the wire")
        taken = self.messages[self._taken :]
        self._taken += len(taken)
        return taken

    def close(self) -> None:
        """Let nobody in any more."""
        self._server.close()

    def _relay(self) -> None:
        client = self._server.accept()[0]
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, socket.socket(socket.AF_UNIX) as qemu:
            qemu.connect(str(self.qemu))
            back = threading.Thread(target=self._pump, args=(QEMU, qemu, client), daemon=True)
            back.start()
            self._pump(CLIENT, client, qemu)
            back.join()

    def _pump(self, sender: str, source: socket.socket, target: socket.socket) -> None:
        while header := source.recv(HEADER.size, socket.MSG_WAITALL):
            kind, reader_id, length = HEADER.unpack(header)
            payload = source.recv(length, socket.MSG_WAITALL) if length else b""
            with self._lock:  # kept before it is sent, so an answer never stands before its question
                self.messages.append(Passed(sender, kind, reader_id, payload))
            target.sendall(header + payload)
        target.shutdown(socket.SHUT_WR)
