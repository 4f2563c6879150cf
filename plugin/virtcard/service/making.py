"""One reader that is made over QEMU's monitor: whole, or not at all, also when nobody waits for it any more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from virtcard.domain.hotplug import Command, HotReader, Plugged, read_readers, readers_element
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.usb import UsbPlace
from virtcard.errors import Disconnected, Failed, VirtcardError
from virtcard.names import HOTPLUG_KEY, HOTPLUG_NAMESPACE

NO_DIRECTORY = "Run 'systemd-tmpfiles --create', with --user for your own virtcardd, and restart virtcardd."
"""tmpfiles makes it; virtcardd's unit may write there when it was there at the start."""


class Making:
    """`Link.call` runs it. It stands on the list before, so that a QEMU that does not answer leaves nothing unknown."""

    def __init__(self, uuid: UUID, slot: int, places: tuple[UsbPlace, ...], plugged: Plugged, path: Path) -> None:
        """`plugged` is what the list says; `path` is where QEMU shall listen."""
        self._uuid = uuid
        self._slot = slot
        self._reader = HotReader(slot)
        self._places = places
        self._plugged = plugged
        self._path = path
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._taken = False
        """By the thread that makes it, or by whoever gave it up before."""

    def bind(self) -> None:
        """Make the socket; whatever an earlier run left at its place is gone. Failed."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(str(self._path))
        except OSError as error:
            raise Failed(
                f"No socket can be made in {self._path.parent}: {error.strerror or error}.", hint=NO_DIRECTORY
            ) from error

    def abandon(self) -> bool:
        """Nobody waits for it. True when it had not begun, and never will: nothing is left but the list."""
        if not self._take():
            return False
        self._clear()
        return True

    def __call__(self, hypervisor: Hypervisor) -> None:
        """All commands; after an error nothing is left of it, or it stays on the list."""
        if not self._take():
            raise Disconnected("Nobody waits for the reader any more.")
        try:
            self._make(hypervisor)
        except VirtcardError:
            if self._is_removed(hypervisor):
                take_off(hypervisor, self._uuid, self._slot)
                self._clear()
            raise
        finally:
            if self._socket is not None:
                self._socket.close()

    def _make(self, hypervisor: Hypervisor) -> None:
        for command in self._reader.listen():
            self._must(hypervisor, command, self._socket)
        place = self._place(hypervisor)
        self._must(hypervisor, self._reader.add_card())
        if place != self._plugged.place:
            readers = read_readers(hypervisor.record(self._uuid).live_xml)
            note(hypervisor, self._uuid, {**readers, self._slot: Plugged(place, self._plugged.instance)})

    def _place(self, hypervisor: Hypervisor) -> UsbPlace:
        """Ports that libvirt calls free may hold a hot-plugged reader."""
        *others, last = self._places
        for place in others:
            if not hypervisor.monitor(self._uuid, self._reader.add_reader(place)).error:
                return place
        self._must(hypervisor, self._reader.add_reader(last))
        return last

    def _must(self, hypervisor: Hypervisor, command: Command, passed: socket.socket | None = None) -> None:
        reply = hypervisor.monitor(self._uuid, command, passed)
        if reply.error:
            raise Failed(f"QEMU does not take the reader ({command.execute}): {reply.error}.")

    def _is_removed(self, hypervisor: Hypervisor) -> bool:
        """What was made of it is gone again, as far as QEMU says."""
        with suppress(VirtcardError):
            replies = [
                hypervisor.monitor(self._uuid, command)
                for command in (self._reader.remove_reader(), self._reader.remove_chardev())
            ]
            return all(not reply.error or "not found" in reply.error for reply in replies)
        return False

    def _take(self) -> bool:
        with self._lock:
            taken, self._taken = self._taken, True
        return not taken

    def _clear(self) -> None:
        if self._socket is not None:
            self._socket.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def note(hypervisor: Hypervisor, uuid: UUID, readers: Mapping[int, Plugged]) -> None:
    """Write the list of a machine's hot-plugged readers into its live metadata."""
    element = readers_element(readers)
    hypervisor.set_metadata(uuid, element, uri=HOTPLUG_NAMESPACE, key=HOTPLUG_KEY, live=True, config=False)


def take_off(hypervisor: Hypervisor, uuid: UUID, slot: int) -> None:
    """Take one reader off the list, as it is now."""
    readers = read_readers(hypervisor.record(uuid).live_xml)
    note(hypervisor, uuid, {other: reader for other, reader in readers.items() if other != slot})
