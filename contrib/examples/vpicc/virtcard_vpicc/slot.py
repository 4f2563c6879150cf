"""The port on which cards call, one at a time: the next client waits until the one before has gone."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Final, Protocol

from virtcard.card.base import CardEvent
from virtcard.errors import Busy
from virtcard_vpicc.wire import Peer

LOOPBACK: Final = "127.0.0.1"
PAUSE: Final = 0.2
"""Seconds between one client and the next: one that comes and goes in a loop must not keep virtcard busy."""
CLOSE_PATIENCE: Final = 2.0
"""Seconds for the end of the thread, which waits for nobody but the listener of the card."""
_HUNG_UP: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class _HasFile(Protocol):
    def fileno(self) -> int: ...


class Slot:
    """One thread that takes clients in, and tells when one comes and when it goes."""

    def __init__(self, port: int, tell: Callable[[CardEvent], None]) -> None:
        """Busy when the port is taken."""
        self._tell = tell
        self._peer: Peer | None = None
        self._changed = threading.Condition()
        self._server = _listening(port)
        self._wake = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, name=f"vpicc-{port}", daemon=True)
        self._thread.start()

    @property
    def peer(self) -> Peer | None:
        """The client that is there."""
        return self._peer

    def wait_for_peer(self, seconds: float) -> Peer | None:
        """The client that is there or comes within that time."""
        with self._changed:
            self._changed.wait_for(lambda: self._peer is not None, seconds)
            return self._peer

    def close(self) -> None:
        """Hang up, and listen no more."""
        if self._thread.is_alive():
            os.eventfd_write(self._wake, 1)
            self._thread.join(CLOSE_PATIENCE)

    def _run(self) -> None:
        try:
            while self._waits_for(self._server, select.POLLIN):
                self._take_in()
                if self._waits_for(None, 0, PAUSE):
                    break
        finally:
            self._server.close()
            os.close(self._wake)

    def _take_in(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return  # it was gone again, or this process has too many files open
        peer = Peer(connection)
        with self._changed:
            self._peer = peer
            self._changed.notify_all()
        self._tell(CardEvent.INSERTED)
        self._waits_for(peer, _HUNG_UP)
        self._peer = None
        peer.close()
        self._tell(CardEvent.REMOVED)

    def _waits_for(self, what: _HasFile | None, events: int, seconds: float | None = None) -> bool:
        """Until that happens. With nothing to wait for, or at the end of the slot, the answer is about the end."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if what is not None:
            poll.register(what, events)
        ready = {file for file, _ in poll.poll(None if seconds is None else seconds * 1000)}
        is_over = self._wake in ready
        return is_over if what is None else not is_over


def _listening(port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, port))
        server.listen(1)
    except OSError as error:
        server.close()
        raise Busy(f"Nobody can call on port {port}: {error.strerror}.", hint="Choose another port.") from None
    return server
