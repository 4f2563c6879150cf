"""A Hypervisor under test, its events, and a second connection that acts like another libvirt user."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any
from uuid import UUID

import libvirt

from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.libvirt.raised import our_error
from virtcard.domain.record import DomainRecord

PATIENCE = 30.0
"""Seconds for anything that libvirt shall tell; the first start of a QEMU on a busy machine takes long."""


class Events:
    """What a Hypervisor told, in order. Its `hear` is the listener."""

    def __init__(self) -> None:
        self.heard: list[HypervisorEvent] = []
        self._news = threading.Condition()

    def hear(self, event: HypervisorEvent) -> None:
        """Remember an event."""
        with self._news:
            self.heard.append(event)
            self._news.notify_all()

    def of(self, uuid: UUID | None) -> list[tuple[EventKind, int, int]]:
        """Kind, event and detail of a domain's events so far."""
        return [(event.kind, event.event, event.detail) for event in list(self.heard) if event.uuid == uuid]

    def wait(self, kind: EventKind, uuid: UUID | None, event: int | None = None) -> HypervisorEvent:
        """The first such event, which may have come already; AssertionError when it does not come."""

        def found() -> HypervisorEvent | None:
            return next((e for e in self.heard if (e.kind, e.uuid) == (kind, uuid) and event in (None, e.event)), None)

        with self._news:
            if self._news.wait_for(lambda: found() is not None, PATIENCE) and (first := found()):
                return first
        raise AssertionError(f"no {kind} {event} of {uuid} in {self.heard}")


class Lab:
    """One Hypervisor and, beside it, `user`: a plain connection to the same libvirt."""

    def __init__(self, uri: str) -> None:
        self.events = Events()
        self.hypervisor = Hypervisor(uri, self.events.hear)
        self.hypervisor.open()
        self.user = libvirt.open(uri)

    def close(self) -> None:
        """End what the user runs, and both connections."""
        for domain in self.user.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            domain.destroy()
        self.user.close()
        self.hypervisor.close()

    def act(self, uuid: UUID, method: str, *args: object) -> Any:
        """Call a method of libvirt's virDomain; raises our error for libvirt's."""
        try:
            return getattr(self.user.lookupByUUID(uuid.bytes), method)(*args)
        except libvirt.libvirtError as error:
            raise our_error(error) from None


class ApartLab:
    """A Lab for another process, with values that travel: embedded QEMU takes a process for itself."""

    def __init__(self, uri: str) -> None:
        _stay_on_one_cpu()
        self._lab = Lab(uri)

    def act(self, uuid: UUID, method: str, *args: object) -> None:
        """Lab.act without the value."""
        self._lab.act(uuid, method, *args)

    def end(self, uuid: UUID) -> None:
        """Destroy a domain if it runs, and forget all events."""
        if self.record(uuid).running:
            self._lab.act(uuid, "destroy")
        self.forget()

    def forget(self) -> None:
        """Forget all events so far."""
        self._lab.events.heard.clear()

    def call(self, method: str, *args: object, **keywords: object) -> Any:
        """Call a method of the Hypervisor."""
        return getattr(self._lab.hypervisor, method)(*args, **keywords)

    def record(self, uuid: UUID) -> DomainRecord:
        """Hypervisor.record."""
        return self._lab.hypervisor.record(uuid)

    def wait(self, kind: EventKind, uuid: UUID, event: int) -> HypervisorEvent:
        """Events.wait."""
        return self._lab.events.wait(kind, uuid, event)

    def heard(self, uuid: UUID) -> list[tuple[EventKind, int, int]]:
        """Events.of."""
        return self._lab.events.of(uuid)

    def close(self) -> None:
        """Lab.close."""
        self._lab.close()


class _Manager(BaseManager):
    """Runs an ApartLab in a process of its own."""


_Manager.register("ApartLab", ApartLab)


def _stay_on_one_cpu() -> None:
    """libvirt drops what it knows of QEMU when KVM's CPUID differs, and that holds the number of the CPU it ran on."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@contextmanager
def apart(uri: str) -> Iterator[ApartLab]:
    """An ApartLab in a fresh process, which ends with the block."""
    with _Manager(ctx=get_context("spawn")) as manager:
        lab: ApartLab = manager.ApartLab(uri)  # type: ignore[attr-defined]
        try:
            yield lab
        finally:
            lab.close()


def peer_pid(path: Path) -> int:
    """The pid at the other end of a unix socket. Leaves with a shutdown, or QEMU keeps its one client's place."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        client.shutdown(socket.SHUT_RDWR)
    return int(struct.unpack("3i", credentials)[0])


@contextmanager
def hanging_uri() -> Iterator[str]:
    """URI of a libvirtd that takes connections and never answers; those who wait are let go at the end."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/libvirt-sock")
        listener.listen()
        yield f"qemu+unix:///system?socket={folder}/libvirt-sock"


def embed_uri(root: Path) -> str:
    """URI of the QEMU driver inside a process, with all its files below `root` (keep that short).

    QEMU runs as root: where /dev/kvm is root's alone, libvirt would otherwise find its own probe of QEMU outdated
    each time that it looks, and probe again for seconds. Logs go to files, not to a virtlogd."""
    (root / "etc").mkdir(parents=True, exist_ok=True)
    (root / "etc" / "qemu.conf").write_text('user = "root"\ngroup = "root"\nstdio_handler = "file"\n')
    return f"qemu:///embed?root={root}"
