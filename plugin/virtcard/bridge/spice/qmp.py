"""Asks QEMU's own monitor, over a unix socket that was made for it (`-qmp unix:PATH,server=on,wait=off`)."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from virtcard import limits
from virtcard.bridge.spice.clients import Session, parse_clients
from virtcard.errors import Disconnected, Failed, TimedOut


class QmpSocket:
    """A monitor that serves one client at a time, so each question is a connection of its own."""

    def __init__(self, path: str) -> None:
        self._path = path

    def clients(self) -> tuple[Session, ...]:
        """query-spice. Disconnected when nobody listens, TimedOut when somebody else has the monitor."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                return _ask(sock, self._path)
            except TimeoutError:
                raise TimedOut(f"The monitor at {self._path} does not answer; another program may use it.") from None
            except OSError as error:
                raise Disconnected(f"There is no monitor at {self._path}: {error.strerror or 'it hung up'}.") from error


def _ask(sock: socket.socket, path: str) -> tuple[Session, ...]:
    deadline = time.monotonic() + limits.QMP_PATIENCE
    sock.settimeout(limits.QMP_PATIENCE)
    sock.connect(path)
    lines = _Lines(sock, deadline)
    if "QMP" not in lines.skip("event", "return", "error"):  # what an earlier client left unread comes first
        raise Failed(f"Who answers at {path} is no monitor of QEMU.")
    for command in ("qmp_capabilities", "query-spice"):
        sock.sendall(json.dumps({"execute": command}).encode())
        answer = lines.skip("event")
    if "return" not in answer:
        raise Failed("QEMU's monitor does not know query-spice; it was built without SPICE.")
    return parse_clients(answer["return"])


class _Lines:
    """Objects, one a line, bounded in size and time."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._pending = b""

    def skip(self, *kinds: str) -> dict[str, Any]:
        """The next one that is of none of these kinds."""
        line = self.next()
        while not line.keys().isdisjoint(kinds):
            line = self.next()
        return line

    def next(self) -> dict[str, Any]:
        while b"\n" not in self._pending:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            data = self._sock.recv(4096)
            if not data:
                raise ConnectionResetError
            self._pending += data
            if len(self._pending) > limits.QMP_ANSWER_MAX:
                raise Failed("QEMU's monitor says more than it can.")
        line, _, self._pending = self._pending.partition(b"\n")
        return _parse(line)


def _parse(untrusted_line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(untrusted_line)
    except (ValueError, RecursionError):
        raise Failed("Who answers is no monitor of QEMU.") from None
    if not isinstance(found, dict):
        raise Failed("Who answers is no monitor of QEMU.")
    return found
