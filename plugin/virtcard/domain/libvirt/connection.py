"""One connection to a libvirt: it opens, it closes, and it goes away by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import libvirt

from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.domain.failure import ErrorCode, lost, no_domain, open_failure
from virtcard.domain.libvirt.events import Ear, Listener
from virtcard.domain.libvirt.loop import ensure_event_loop
from virtcard.domain.libvirt.raised import code_of, our_error, text_of
from virtcard.errors import Disconnected, VirtcardError

KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 5, 3
"""A libvirtd that answers nothing is given up after 5 s x (3 + 1): the length of limits.LIBVIRT_DEADLINE."""


class Connection:
    """Every method but `alive` may block, and raises a VirtcardError.

    `listener` is called on libvirt's event thread: it must return at once and not call back into libvirt."""

    def __init__(self, uri: str, listener: Listener) -> None:
        self.uri = uri
        self._ear = Ear(listener)
        self._connection: libvirt.virConnect | None = None
        self._alive = False
        self._closes = 0

    @property
    def alive(self) -> bool:
        """Open, and libvirt has not gone away since. Never blocks."""
        return self._alive

    @property
    def tells_of_viewers(self) -> bool:
        """Events of the kind VIEWER come."""
        return self._ear.hears_monitors

    def open(self) -> None:
        """Open or reopen the connection; events that happened before are not replayed, so read everything after."""
        ensure_event_loop()
        self.close()
        closes = self._closes
        try:
            self._connection = libvirt.open(self.uri)
            self._alive = True
            self._register(self._connection)
        except libvirt.libvirtError as error:
            self.close()
            raise open_failure(self.uri, code_of(error), error.get_error_domain() or 0, text_of(error)) from None
        if closes != self._closes:
            self.close()
            raise Disconnected("The connection to libvirt was closed while it opened.")

    def close(self) -> None:
        """Close the connection, without a CLOSED event. Domains go on. An `open` that hangs elsewhere ends closed."""
        self._closes += 1
        connection, self._connection, self._alive = self._connection, None, False
        if connection is None:
            return
        self._ear.leave(connection)
        for end in (connection.unregisterCloseCallback, connection.close):
            with suppress(libvirt.libvirtError):
                end()

    def _register(self, connection: libvirt.virConnect) -> None:
        with suppress(libvirt.libvirtError):  # the test driver and embedded QEMU have no keepalive
            connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        connection.registerCloseCallback(self._on_close, None)
        self._ear.listen(connection)

    def _on_close(self, connection: libvirt.virConnect, reason: int, _o: object) -> None:
        if connection is self._connection and self._alive:
            self._alive = False
            self._ear.tell(HypervisorEvent(EventKind.CLOSED, None, reason))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except libvirt.libvirtError as error:
            raise self._error(error) from None

    def _error(self, error: libvirt.libvirtError) -> VirtcardError:
        """A daemon passes on the errors of its own lost sockets (virtlogd), so the connection itself is asked."""
        connection = self._connection
        with suppress(libvirt.libvirtError):
            if connection is not None and connection.isAlive():
                return our_error(error)
        return lost(code_of(error), text_of(error))

    def _open_connection(self) -> libvirt.virConnect:
        if self._connection is None or not self._alive:
            raise Disconnected("libvirt is not connected.", hint="It comes back by itself when libvirt runs again.")
        return self._connection

    def _domain(self, uuid: UUID) -> libvirt.virDomain:
        try:
            return self._open_connection().lookupByUUID(uuid.bytes)
        except libvirt.libvirtError as error:
            if code_of(error) != ErrorCode.NO_DOMAIN:
                raise
            raise no_domain(uuid) from None
