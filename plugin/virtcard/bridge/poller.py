"""Waiting without a timeout, for one socket and for whoever has news."""

from __future__ import annotations

import os
import select


class Wakeup:
    """An eventfd: any thread may `wake` the worker that polls. One descriptor for each bridge."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._fd

    def wake(self) -> None:
        """End the wait of the worker, or its next one."""
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """The news were heard."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Nobody may wake or poll any more."""
        os.close(self._fd)


class Poller:
    """One worker's poll(): its bridge's eventfd, and the socket of the moment."""

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._poll = select.poll()
        self._poll.register(wakeup.fileno(), select.POLLIN)
        self._fd = -1
        self._events = 0

    def wait(self, fd: int, events: int) -> int:
        """Wait for `events` of `fd` (-1 for no socket) or a wakeup; what `fd` is ready for, 0 when it was woken."""
        if fd != self._fd or events != self._events:
            self._watch(fd, events)
        result = 0
        for ready, ready_for in self._poll.poll():
            if ready == fd:
                result = ready_for
            else:
                self._wakeup.clear()
        return result

    def _watch(self, fd: int, events: int) -> None:
        if self._fd >= 0:
            self._poll.unregister(self._fd)
        if fd >= 0:
            self._poll.register(fd, events)
        self._fd, self._events = fd, events
