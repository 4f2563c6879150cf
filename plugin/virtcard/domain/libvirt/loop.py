"""libvirt's event loop, on a thread of its own.

libvirtaio is not used: its handles belong to the loop's thread, and API calls from another one upset it.
"""

from __future__ import annotations

import atexit
import logging
import threading

import libvirt

log = logging.getLogger(__name__)


class _EventLoop:
    """libvirt's default event loop on a thread of its own. libvirt takes one per process, for ever."""

    def __init__(self) -> None:
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError:
                log.exception("libvirt's event loop failed once")
                self._stopping.wait(0.1)

    def _stop(self) -> None:
        """A thread inside libvirt while the interpreter ends can hang it, so a timeout wakes it to leave before."""
        self._stopping.set()
        libvirt.virEventAddTimeout(0, lambda *_: None, None)
        self._thread.join(timeout=2)


_loop_lock = threading.Lock()
_loop: list[_EventLoop] = []


def ensure_event_loop() -> None:
    """Start libvirt's event loop, once per process. Must come before the first connection."""
    with _loop_lock:
        if not _loop:
            _loop.append(_EventLoop())
