"""The socket to a peer: non-blocking, with a bounded buffer for what the peer has not read yet."""

from __future__ import annotations

import select
import socket
import struct
from typing import Final, Protocol

from virtcard import limits
from virtcard.errors import PeerError, VirtcardError

RECEIVE: Final = 16 * 1024
"""Bytes for one recv; most messages are below 300, and a record of TLS has no more than this."""
_UCRED: Final = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A peer whose machine went away is noticed within 90 seconds."""


class Line(Protocol):
    """What a bridge talks over. Its worker receives, and everything else happens under the bridge's lock."""

    failure: VirtcardError | None
    """Why the peer is gone, when that is known."""

    def fileno(self) -> int:
        """The descriptor to poll."""

    @property
    def events(self) -> int:
        """What to poll for."""

    def peer_pid(self) -> int | None:
        """The process at the other end of a unix socket, None elsewhere."""

    def receive(self) -> bytes | None:
        """What came; b"" when the peer is gone, None when there is nothing now."""

    def unread(self) -> bool:
        """Something came, or the peer went, that `receive` has not told yet."""

    def send(self, data: bytes) -> None:
        """Send whole messages; PeerError when the peer left too much unread."""

    def flush(self) -> None:
        """Send more of what was kept."""

    def shutdown(self) -> None:
        """End the conversation in both directions, and wake whoever polls."""

    def close(self) -> None:
        """Shut down, then close."""


class Link:
    """A connected socket, which it owns. Not thread-safe: its bridge holds a lock around it."""

    failure: VirtcardError | None = None
    """Why the peer is gone, when that is known."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out = bytearray()
        self._tcp = sock.family != socket.AF_UNIX
        if self._tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            self._quick_ack()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._sock.fileno()

    @property
    def events(self) -> int:
        """What to poll for."""
        return select.POLLIN | select.POLLOUT if self._out else select.POLLIN

    def peer_pid(self) -> int | None:
        """The process at the other end of a unix socket, as it was when it called connect() or listen()."""
        if self._tcp:
            return None
        pid: int = _UCRED.unpack(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
        return pid

    def receive(self) -> bytes | None:
        """What came; b"" when the peer is gone, None when there is nothing now."""
        try:
            data = self._sock.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""
        if self._tcp:
            self._quick_ack()
        return data

    def unread(self) -> bool:
        """Something came, or the peer went, that `receive` has not told yet."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return False
        return True

    def send(self, data: bytes) -> None:
        """Send now what fits and keep the rest; PeerError when the peer left too much unread."""
        if not self._out:
            written = self._write(data)
            if written == len(data):
                return
            data = data[written:]
        if len(self._out) + len(data) > limits.SEND_BUFFER_MAX:
            raise PeerError("The virtual machine does not read what it is sent.")
        self._out += data

    def flush(self) -> None:
        """Send more of what was kept."""
        del self._out[: self._write(self._out)]

    def shutdown(self) -> None:
        """End the conversation in both directions, and wake whoever polls."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the peer was faster

    def close(self) -> None:
        """Shut down, then close: without the first, QEMU's one client slot can stay taken."""
        self.shutdown()
        self._sock.close()

    def _write(self, data: bytes | bytearray) -> int:
        """Bytes that are done with: sent, or lost with a peer whose end `receive` will report."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return len(data)

    def _quick_ack(self) -> None:
        """Linux drops quick acknowledgement by itself (tcp(7)); QEMU's second write waits 40 ms for a delayed one."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
