"""A reader made over QEMU's monitor, with a libvirt that fails, or does not come back in time."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import UUID

import pytest

from helpers.bus import eventually, run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from virtcard.domain.hotplug import Command, Plugged, Reply, read_readers
from virtcard.domain.record import DomainRecord
from virtcard.domain.usb import UsbPlace
from virtcard.domain.worker import Worker
from virtcard.errors import Disconnected, Failed, TimedOut, VirtcardError
from virtcard.policy.decide import Request
from virtcard.policy.model import Monitor
from virtcard.service.hotplug import Hotplug
from virtcard.service.making import Making

VM = domain_uuid("vm")
MADE = ["getfd", "chardev-add", "device_add", "device_add"]
UNMADE = ["device_del", "chardev-remove"]


class FakeHypervisor:
    """A machine whose list is kept, and whose monitor says what the test wants."""

    def __init__(self) -> None:
        self.metadata = ""
        self.commands: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.answer: Callable[[Command], Reply] = lambda _command: Reply({})

    def monitor(self, _uuid: UUID, command: Command, passed: socket.socket | None = None) -> Reply:
        assert self.gate.wait(10), "the test never opened the gate"
        assert passed is None or passed.fileno() >= 0, "the socket is open while it is handed over"
        self.commands.append(command.execute)
        return self.answer(command)

    def record(self, uuid: UUID) -> DomainRecord:
        live = domain_xml("vm", devices=XHCI, metadata=self.metadata)
        return DomainRecord(uuid, "vm", 1, "running", True, True, False, domain_xml("vm", devices=XHCI), live)

    def set_metadata(self, _uuid: UUID, xml: str | None, *, uri: str, **_where: object) -> None:
        self.metadata = (xml or "").replace(" ", f" xmlns='{uri}' ", 1)

    @property
    def readers(self) -> dict[int, Plugged]:
        """What stands on the list."""
        return read_readers(self.record(VM).live_xml)


class FakePermits:
    """Everything may be done over the monitor."""

    def monitor(self, _request: Request) -> Monitor:
        return Monitor.HOTPLUG


class Lab:
    """Hot-plugging, on a worker that gives a call a tenth of a second."""

    def __init__(self, directory: Path) -> None:
        self.hypervisor = FakeHypervisor()
        self.worker = Worker(deadline=0.1)
        self.leaves = False
        self.hotplug = Hotplug(cast("Any", self), cast("Any", FakePermits()), directory, lambda: True)

    async def call(self, function: Callable[..., Any]) -> Any:
        """As Link.call; with `leaves` the caller is cancelled while the reader waits for its turn."""
        if self.leaves and isinstance(function, Making):
            raise asyncio.CancelledError
        return await self.worker.run(function, self.hypervisor)

    async def plug(self) -> int:
        return await self.hotplug.plug(self.hypervisor.record(VM), Request(VM, "vm"))

    @property
    def socket(self) -> Path:
        return Path(self.hotplug.path(VM, 1))


def in_lab(test: Callable[[Lab], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        with TemporaryDirectory() as directory:
            lab = Lab(Path(directory))
            try:
                await test(lab)
            finally:
                lab.worker.close()

    run_async(run())


def test_a_reader_is_on_the_list_with_the_port_that_qemu_gave_it() -> None:
    async def test(lab: Lab) -> None:
        lab.hypervisor.answer = lambda command: Reply(error="port 4 is taken") if _port(command) == "4" else Reply({})
        assert await lab.plug() == 1
        assert lab.hypervisor.readers == {1: Plugged(UsbPlace(0, 3), 0)}
        assert lab.socket.exists()

    in_lab(test)


def _is_card(command: Command) -> bool:
    return command.execute == "device_add" and "chardev" in command.arguments


def _port(command: Command) -> object:
    return command.arguments.get("port")


def test_qemu_that_refuses_leaves_nothing() -> None:
    async def test(lab: Lab) -> None:
        lab.hypervisor.answer = lambda command: Reply(error="no room") if _is_card(command) else Reply({})
        with pytest.raises(Failed, match="no room"):
            await lab.plug()
        assert lab.hypervisor.commands == MADE + UNMADE
        assert (lab.hypervisor.readers, lab.socket.exists()) == ({}, False)

    in_lab(test)


def test_a_libvirt_that_takes_too_long_makes_a_reader_that_is_known() -> None:
    async def test(lab: Lab) -> None:
        lab.hypervisor.gate.clear()
        with pytest.raises(TimedOut):
            await lab.plug()
        assert list(lab.hypervisor.readers) == [1]
        assert lab.socket.exists()
        lab.hypervisor.gate.set()
        await eventually(lambda: lab.hypervisor.commands == MADE, "it is made after all")
        assert list(lab.hypervisor.readers) == [1]
        assert lab.socket.exists()

    in_lab(test)


def test_what_fails_after_nobody_waits_any_more_leaves_nothing_either() -> None:
    async def test(lab: Lab) -> None:
        lab.hypervisor.gate.clear()
        lab.hypervisor.answer = lambda command: Reply(error="no") if command.execute == "chardev-add" else Reply({})
        with pytest.raises(TimedOut):
            await lab.plug()
        lab.hypervisor.gate.set()
        await eventually(lambda: not lab.hypervisor.readers, "it is off the list")
        await eventually(lambda: not lab.socket.exists(), "the socket is gone")

    in_lab(test)


def test_what_may_still_be_there_stays_on_the_list() -> None:
    async def test(lab: Lab) -> None:
        def gone(command: Command) -> Reply:
            if command.execute == "getfd":
                return Reply({})
            raise Disconnected("libvirt went away.")

        lab.hypervisor.answer = gone
        with pytest.raises(Disconnected):
            await lab.plug()
        assert list(lab.hypervisor.readers) == [1]
        assert lab.socket.exists()

    in_lab(test)


def test_a_caller_who_leaves_before_its_turn_leaves_nothing() -> None:
    async def test(lab: Lab) -> None:
        lab.leaves = True
        with pytest.raises(asyncio.CancelledError):
            await lab.plug()
        assert (lab.hypervisor.readers, lab.hypervisor.commands, lab.socket.exists()) == ({}, [], False)

    in_lab(test)


def test_a_directory_that_takes_no_socket_says_what_to_do_and_leaves_nothing_on_the_list() -> None:
    async def test(lab: Lab) -> None:
        lab.socket.mkdir()
        with pytest.raises(VirtcardError, match="No socket can be made") as failure:
            await lab.plug()
        assert "systemd-tmpfiles --create" in failure.value.hint
        assert (lab.hypervisor.readers, lab.hypervisor.commands) == ({}, [])

    in_lab(test)
