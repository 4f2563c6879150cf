"""A stand-in for QEMU that keeps the books: which answer belongs to which command of its guest."""

from __future__ import annotations

import socket
import time
from collections import deque
from pathlib import Path

from helpers.qemu_peer import CARD_REMOVE, READER_REMOVE, QemuPeer, Received
from helpers.tls_socket import TlsSocket

SERIAL = slice(5, 9)
"""Where a command of `numbered` has its number, and a card that is asked so answers with it first."""

CROSSING = 0.1
"""Seconds that a command and a CardRemove may be on their way to each other; microseconds on a quiet machine."""


def numbered(serial: int) -> bytes:
    """A command that no other one is like."""
    return b"\x80\x01\x00\x00\x04" + serial.to_bytes(4)


class ExactPeer(QemuPeer):
    """Its guest sends `numbered` commands, one or a few at a time."""

    def __init__(self, where: Path) -> None:
        self.waiting: deque[tuple[bytes, float]] = deque()
        """What the guest waits for, and since when."""
        self.answered = 0
        self.failed = 0
        self.crossed = 0
        """Commands that met a CardRemove on their way: QEMU forgets them, and passes over the error that they get."""
        self.lost = 0
        """Commands that QEMU forgot with the card, although the bridge must have known of them: the guest hangs."""
        self.mixed: list[tuple[bytes, bytes]] = []
        """Answers that went to another command's question."""
        super().__init__(where)

    def ask(self, serial: int) -> bool:
        """The guest sends a command; without a card QEMU does not let it."""
        command = numbered(serial)
        with self._changed:
            if self.atr is None or self._link is None:
                return False
            self.waiting.append((command, time.monotonic()))
            try:
                self.send_apdu(command)
            except OSError:
                return False
        return True

    def _converse(self, link: socket.socket | TlsSocket) -> None:
        with self._changed:
            self.waiting.clear()
        super()._converse(link)

    def _control(self, message: Received) -> None:
        if message.type in (CARD_REMOVE, READER_REMOVE):
            self.crossed += len(self.waiting)
            known = time.monotonic() - CROSSING
            self.lost += sum(since < known for _, since in self.waiting)
            self.waiting.clear()
        super()._control(message)

    def _finish(self, answer: bytes | None) -> None:
        if self.waiting:
            command, _ = self.waiting.popleft()
            self.answered += 1
            self.failed += answer is None
            if answer is not None and answer[:4] != command[SERIAL]:
                self.mixed.append((command, answer))
        super()._finish(answer)
