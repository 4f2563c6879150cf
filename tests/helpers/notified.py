"""A stand-in for systemd's side of sd_notify(3)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MESSAGE_MAX = 4096


class Notified:
    """Hears what a service says of itself; `path` is its NOTIFY_SOCKET."""

    def __init__(self, path: Path, ours: socket.socket) -> None:
        self.path = path
        self._ours = ours

    def next(self, patience: float) -> str | None:
        """The next word, or None when there is none in so many seconds."""
        self._ours.settimeout(patience)
        try:
            return self._ours.recv(MESSAGE_MAX).decode()
        except TimeoutError:
            return None

    def wait(self, word: str, patience: float) -> None:
        """Hear this word at last; others may come before it."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            if self.next(left) == word:
                return
        raise AssertionError(f"not within {patience:g} s: {word}")

    def drain(self) -> None:
        """Forget what was said so far."""
        while self.next(0.001) is not None:
            pass


@contextmanager
def notified(directory: Path) -> Iterator[Notified]:
    """Listens in this directory, whose path is short."""
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(path))
        yield Notified(path, ours)
