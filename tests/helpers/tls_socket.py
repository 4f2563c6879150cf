"""A TLS socket for tests that receive in one thread and send in another, with Python's ssl and none of our code."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 10.0
Result = TypeVar("Result")


class TlsSocket:
    """The part of a socket that a peer uses; the handshake is done when it is made, or OSError."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, hostname: str = "") -> None:
        """A client when the server is to be `hostname`."""
        plain.settimeout(PATIENCE)
        self._sock = context.wrap_socket(plain, server_side=not hostname, server_hostname=hostname or None)
        self._sock.setblocking(False)
        self._turn = threading.Lock()

    def recv(self, size: int) -> bytes:
        """As of a blocking socket."""
        return self._insist(lambda: self._sock.recv(size))

    def sendall(self, data: bytes) -> None:
        """As of a blocking socket."""
        view = memoryview(data)
        while view:
            view = view[self._insist(lambda rest=view: self._sock.send(rest)) :]  # type: ignore[misc]

    def shutdown(self, how: int) -> None:
        """End the connection, and say nothing of it in TLS."""
        socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        """Close it."""
        self._sock.close()

    def _insist(self, step: Callable[[], Result]) -> Result:
        while True:
            try:
                with self._turn:
                    return step()
            except ssl.SSLWantReadError:
                select.select([self._sock], [], [], PATIENCE)
            except ssl.SSLWantWriteError:
                select.select([], [self._sock], [], PATIENCE)
