"""A libvirtd that is killed and comes back: virtcard hears of it, says so, and reads everything again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import libvirt
import pytest

from helpers.domains import domain_uuid, qemu_xml, reader_xml
from helpers.hypervisors import Events, peer_pid
from helpers.libvirtd import Libvirtd, private_libvirtd
from virtcard.domain.events import EventKind, Lifecycle
from virtcard.domain.libvirt import Hypervisor, connection
from virtcard.domain.peer import verify_peer
from virtcard.domain.uri import parse_uri
from virtcard.domain.worker import Worker
from virtcard.errors import Disconnected, TimedOut

VM = domain_uuid("vm")


@pytest.fixture
def libvirtd() -> Iterator[Libvirtd]:
    """A session libvirtd of our own."""
    with private_libvirtd() as libvirtd:
        yield libvirtd


@pytest.fixture
def events() -> Events:
    """What the Hypervisor tells."""
    return Events()


@pytest.fixture
def hypervisor(libvirtd: Libvirtd, events: Events) -> Iterator[Hypervisor]:
    """A connection to it."""
    hypervisor = Hypervisor(libvirtd.uri, events.hear)
    hypervisor.open()
    yield hypervisor
    hypervisor.close()


def test_killed_daemon_is_told_once_and_reopening_works(
    libvirtd: Libvirtd, events: Events, hypervisor: Hypervisor
) -> None:
    libvirtd.kill()
    events.wait(EventKind.CLOSED, None)
    assert not hypervisor.alive
    with pytest.raises(Disconnected):
        hypervisor.records()
    with pytest.raises(Disconnected, match="cannot be reached"):
        hypervisor.open()
    libvirtd.start()
    hypervisor.open()
    hypervisor.define(qemu_xml("vm"))
    events.wait(EventKind.LIFECYCLE, VM, Lifecycle.DEFINED)
    assert [record.name for record in hypervisor.records()] == ["vm"]
    assert len(events.of(None)) == 1


def test_running_domain_survives_the_daemon_and_keeps_its_peer(
    libvirtd: Libvirtd, events: Events, hypervisor: Hypervisor
) -> None:
    path = libvirtd.directory / "vm.sock"
    hypervisor.define(qemu_xml("vm", devices=reader_xml(path)))
    libvirtd.virsh("start", "vm")
    before = hypervisor.record(VM)
    libvirtd.kill()
    events.wait(EventKind.CLOSED, None)
    pid_dir = parse_uri(libvirtd.uri, os.environ).pid_dir
    verify_peer(peer_pid(path), VM, "vm", pid_dir)
    libvirtd.start()
    hypervisor.open()
    after = hypervisor.record(VM)
    assert (after.state, after.running, after.id) == ("running", True, before.id)
    verify_peer(libvirtd.qemu_pids()[0], VM, "vm", pid_dir)


def test_call_during_the_kill_is_disconnected(libvirtd: Libvirtd, events: Events, hypervisor: Hypervisor) -> None:
    """A stopped daemon does not answer: the worker gives the call up, and the kill ends it as Disconnected."""

    async def scene() -> None:
        patient, hasty = Worker(), Worker(deadline=0.2)
        os.kill(libvirtd.pid, signal.SIGSTOP)
        with pytest.raises(TimedOut):
            await hasty.run(hypervisor.domain_uuids)
        call = asyncio.ensure_future(patient.run(hypervisor.domain_uuids))
        await asyncio.sleep(0.1)
        libvirtd.kill()
        with pytest.raises(Disconnected):
            await call
        patient.close()
        hasty.close()

    asyncio.run(scene())
    events.wait(EventKind.CLOSED, None)


def test_daemon_that_hangs_is_given_up_by_keepalive(
    libvirtd: Libvirtd, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_INTERVAL", 1)
    monkeypatch.setattr(connection, "KEEPALIVE_COUNT", 1)
    hypervisor = Hypervisor(libvirtd.uri, events.hear)
    hypervisor.open()
    os.kill(libvirtd.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Disconnected):
            hypervisor.domain_uuids()
        assert events.wait(EventKind.CLOSED, None).event == libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE
        hypervisor.close()
    finally:
        os.kill(libvirtd.pid, signal.SIGCONT)


def test_connection_that_hangs_while_it_opens_can_be_closed(libvirtd: Libvirtd, events: Events) -> None:
    """The daemon's socket takes clients while the daemon itself stands still, and keepalive starts only later."""

    async def scene() -> None:
        worker = Worker(deadline=0.2)
        hypervisor = Hypervisor(libvirtd.uri, events.hear)
        os.kill(libvirtd.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimedOut):
                await worker.run(hypervisor.open)
            await worker.run(hypervisor.close)
        finally:
            os.kill(libvirtd.pid, signal.SIGCONT)
        while worker._stuck:
            await asyncio.sleep(0.01)
        assert not hypervisor.alive
        assert hypervisor._connection is None
        worker.close()

    asyncio.run(asyncio.wait_for(scene(), 20))


def test_daemon_tells_about_qemus_devices(hypervisor: Hypervisor) -> None:
    assert hypervisor.passthru_supported() is True


def test_hundred_real_domains_are_read_below_a_second(libvirtd: Libvirtd, hypervisor: Hypervisor) -> None:
    for number in range(100):
        hypervisor.define(qemu_xml(f"vm{number}"))
    began = time.perf_counter()
    records = hypervisor.records()
    took = time.perf_counter() - began
    assert len(records) == 100
    assert took < 1.0
