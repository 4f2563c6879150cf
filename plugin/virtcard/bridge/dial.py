"""One attempt to meet the peer of an endpoint, non-blocking but for the look-up of a host name."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Final

from virtcard import limits
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.link import Line, Link
from virtcard.errors import Disconnected, VirtcardError

_SOCKET_MODE: Final = 0o660
"""Owner and group: QEMU's user reaches a listening socket through the group of its directory."""

_SENTENCES: Final = {
    errno.ENOENT: "There is no socket at {} yet.",
    errno.ECONNREFUSED: "Nobody listens at {} yet.",
    errno.EAGAIN: "{} is busy with another client.",
    errno.EACCES: "{} may not be opened: permission denied.",
    errno.EADDRINUSE: "{} is already in use.",
    errno.ETIMEDOUT: "{} does not answer.",
}


class Dial(ABC):
    """Poll `fileno()` for `events`, then `proceed()`; Disconnected when this attempt failed."""

    events: int = select.POLLIN
    until: float | None = None
    """The moment of the monotonic clock at which `overdue` is to be called."""
    remark: VirtcardError | None = None
    """Who was turned away since the last look, while the attempt goes on."""

    @abstractmethod
    def fileno(self) -> int:
        """The descriptor to poll."""

    @abstractmethod
    def proceed(self) -> Line | None:
        """The link when it stands, None when there is more to wait for."""

    @abstractmethod
    def overdue(self) -> None:
        """It took too long: Disconnected, unless it can go on without whoever took so long."""

    @abstractmethod
    def close(self) -> None:
        """Give up."""


def failure(endpoint: Endpoint, number: int | None) -> Disconnected:
    """The public sentence for an errno."""
    text = _SENTENCES.get(number or 0)
    if text is None:
        reason = os.strerror(number) if number and number > 0 else "the host name is unknown"
        return Disconnected(f"{endpoint} cannot be reached: {reason}.")
    return Disconnected(text.format(endpoint))


class Calling(Dial):
    """We connect. A host name with several addresses is tried address by address."""

    events = select.POLLOUT

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.until = None if endpoint.scheme is Scheme.UNIX else time.monotonic() + limits.CONNECT_PATIENCE
        self._targets = _targets(endpoint, passive=False)
        self._sock = self._next()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._sock.fileno()

    def proceed(self) -> Link | None:
        """The link when connect() succeeded."""
        sock = self.connected()
        return Link(sock) if sock else None

    def overdue(self) -> None:
        """Nobody answered."""
        raise failure(self._endpoint, errno.ETIMEDOUT)

    def connected(self) -> socket.socket | None:
        """The socket when connect() succeeded; another address, or Disconnected, when it did not."""
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0 and not _met_itself(self._sock):
            return self._sock
        self._sock.close()
        if not self._targets:
            raise failure(self._endpoint, number or errno.ECONNREFUSED)
        try:
            self._sock = self._next()
        except OSError as error:
            raise failure(self._endpoint, error.errno) from error
        return None

    def close(self) -> None:
        """Give up."""
        self._sock.close()

    def _next(self) -> socket.socket:
        """Begin with the next address that does not fail at once; OSError of the last when none is left."""
        while True:
            family, address = self._targets.pop(0)
            sock = _open(family)
            number = sock.connect_ex(address)
            if number in {0, errno.EINPROGRESS}:
                return sock
            sock.close()
            if not self._targets:
                raise OSError(number, os.strerror(number))


class Waiting(Dial):
    """The peer connects to us: one peer, then the listening socket is closed until it is gone."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        family, address = _targets(endpoint, passive=True)[0]
        self._sock = _open(family)
        try:
            self._bind(address)
            self._sock.listen(1)
        except OSError:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._sock.fileno()

    def proceed(self) -> Link | None:
        """The link to the peer that came, None when it went away again."""
        sock = self.accepted()
        if sock is None:
            return None
        self.close()
        return Link(sock)

    def overdue(self) -> None:
        """It waits for as long as it takes."""

    def accepted(self) -> socket.socket | None:
        """The socket of the peer that came, None when it went away again."""
        try:
            return self._sock.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:
            raise failure(self._endpoint, error.errno) from error

    def close(self) -> None:
        """Stop listening, and remove the socket file."""
        if self._sock.fileno() >= 0 and self._endpoint.path:
            with suppress(FileNotFoundError):
                os.unlink(self._endpoint.path)
        self._sock.close()

    def _bind(self, address: str | tuple[object, ...]) -> None:
        if not self._endpoint.path:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sock.bind(address)
            return
        _remove_stale(self._endpoint.path)
        self._sock.bind(address)
        os.chmod(self._endpoint.path, _SOCKET_MODE)


def _open(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _targets(endpoint: Endpoint, *, passive: bool) -> list[tuple[int, str | tuple[object, ...]]]:
    if endpoint.scheme is Scheme.UNIX:
        return [(socket.AF_UNIX, endpoint.path)]
    flags = socket.AI_PASSIVE if passive else 0
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def _met_itself(sock: socket.socket) -> bool:
    """TCP's simultaneous open: a call to a free local port can be answered by itself (same address at both ends)."""
    return sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername()


def _remove_stale(path: str) -> None:
    """Remove a socket file behind which nobody listens any more; anything else is left for bind() to refuse."""
    try:
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            return
        with _open(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)
    except FileNotFoundError:
        return
