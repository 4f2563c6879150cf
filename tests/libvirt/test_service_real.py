"""virtcardd with a real libvirtd, real QEMUs without a disk, and pcscd with virtual readers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import libvirt
import pytest

from helpers.agents import AgentPeer, word
from helpers.bus import eventually, run_async
from helpers.domains import domain_uuid, qemu_xml
from helpers.host import Host, private_host
from helpers.qemu_peer import QemuPeer
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.names import METADATA_KEY, WISH_NAMESPACE, socket_name

NUMBERS = count()
READER = "reader:Virtual PCD 00 00"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Everything, with a card in the first reader."""
    with private_host() as running:
        running.slots[0].plug(ScriptedCard())
        wait_until(lambda: any(reader["present"] for reader in running.virtcardd.json("readers")), 10, "the card")
        yield running


@pytest.fixture
def vm(host: Host) -> Iterator[str]:
    """A domain of its own for each test, off; it is gone afterwards."""
    name = f"vm{next(NUMBERS)}"
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(qemu_xml(name))
    yield name
    with closing(host.libvirtd.open()) as connection:
        for domain in connection.listAllDomains():
            persistent = domain.isPersistent()
            if domain.isActive():
                domain.destroy()
            if persistent:
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def _info(host: Host, vm: str) -> dict[str, Any]:
    info: dict[str, Any] = host.virtcardd.json("info", vm)
    return info


def _bridge(host: Host, vm: str) -> dict[str, Any]:
    """The domain's bridge; empty without one."""
    bridges: list[dict[str, Any]] = _info(host, vm)["bridges"]
    return bridges[0] if bridges else {}


def _state(host: Host, vm: str) -> str:
    return str(_bridge(host, vm).get("state", ""))


def _wait_inserted(host: Host, vm: str) -> None:
    wait_until(lambda: _state(host, vm) == "inserted", 15, f"the card is in {vm}", 0.1)


def _start_with_card(host: Host, vm: str) -> None:
    host.virtcardd.virtcard("enable", vm)
    host.libvirtd.virsh("start", vm)
    wait_until(lambda: _state(host, vm) == "empty", 15, "the bridge has its reader", 0.1)
    host.virtcardd.virtcard("insert", vm, READER)
    assert _state(host, vm) == "inserted"


def _qemu(host: Host, vm: str) -> int:
    return int((host.libvirtd.directory / f"libvirt/qemu/run/{vm}.pid").read_text())


def test_wish_by_virsh_alone_brings_reader_and_card(host: Host, vm: str) -> None:
    host.libvirtd.virsh(
        "metadata", vm, "--uri", WISH_NAMESPACE, "--key", METADATA_KEY, "--set", f"<vm card='{READER}'/>"
    )
    wait_until(lambda: _info(host, vm)["enabled"], 10, "the reader is in the configuration", 0.1)
    host.libvirtd.virsh("start", vm)
    _wait_inserted(host, vm)


def test_libvirtd_that_is_killed_takes_no_card_and_is_reconciled_when_it_is_back(host: Host, vm: str) -> None:
    _start_with_card(host, vm)
    before = _bridge(host, vm)["since"]
    host.libvirtd.kill()
    wait_until(lambda: host.virtcardd.json("status")["libvirt"] != "connected", 10, "libvirt is told to be away")
    assert _state(host, vm) == "inserted"
    assert host.virtcardd.run("enable", vm).returncode == 1
    host.libvirtd.start()
    wait_until(lambda: host.virtcardd.json("status")["libvirt"] == "connected", 20, "libvirt is back")
    host.libvirtd.virsh("suspend", vm)
    wait_until(lambda: _info(host, vm)["state"] == "paused", 10, "events come again", 0.1)
    assert _state(host, vm) == "inserted"
    assert _bridge(host, vm)["since"] == before, "the card stayed in all the time"


def test_machine_that_ends_while_libvirtd_is_away_is_off_when_it_is_back(host: Host, vm: str) -> None:
    _start_with_card(host, vm)
    pid = _qemu(host, vm)
    host.libvirtd.kill()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _state(host, vm) == "connecting", 10, "the bridge looks for its machine")
    socket = host.libvirtd.directory / "virtcard" / socket_name(domain_uuid(vm))
    socket.unlink()
    with closing(QemuPeer(socket)) as stranger:
        wait_until(lambda: "is not its QEMU" in _bridge(host, vm)["last_error"], 15, "a stranger is found out", 0.1)
        assert stranger.types() == []
    host.libvirtd.start()
    wait_until(lambda: _info(host, vm)["state"] == "shut off", 20, "the domain is off", 0.1)
    assert _state(host, vm) == ""
    assert (host.libvirtd.directory / "virtcardd/insertions.json").read_text() == "{}"


def test_stranger_on_the_socket_of_a_machine_gets_no_card(host: Host, vm: str) -> None:
    """Another machine that starts with the same path steals the socket in just this way."""
    _start_with_card(host, vm)
    socket = host.libvirtd.directory / "virtcard" / socket_name(domain_uuid(vm))
    socket.unlink()
    with closing(QemuPeer(socket)) as peer:
        host.virtcardd.kill()
        host.virtcardd.start()
        wait_until(lambda: "is not its QEMU" in _bridge(host, vm)["last_error"], 15, "the stranger is found out", 0.1)
        assert peer.types() == []
        done = host.virtcardd.run("insert", vm, "reader:Virtual PCD 00 01")
        assert done.returncode == 1
        assert "is not its QEMU" in done.stderr
        assert peer.types() == []


def test_save_and_restore_keep_reader_and_bridge(host: Host, vm: str) -> None:
    _start_with_card(host, vm)
    host.libvirtd.virsh("managedsave", vm)
    wait_until(lambda: _info(host, vm)["state"] == "shut off", 10, "it is saved", 0.1)
    assert _state(host, vm) == ""
    host.libvirtd.virsh("start", vm)
    wait_until(lambda: _state(host, vm) == "empty", 15, "the bridge is back", 0.1)
    host.virtcardd.virtcard("insert", vm, READER)


def test_daemon_that_was_killed_and_started_puts_the_card_in_again(host: Host, vm: str) -> None:
    _start_with_card(host, vm)
    host.virtcardd.kill()
    host.virtcardd.start()
    _wait_inserted(host, vm)
    assert _info(host, vm)["card"] == READER


def test_undefined_machine_keeps_its_card_and_stops_in_order(host: Host, vm: str) -> None:
    _start_with_card(host, vm)
    host.libvirtd.virsh("undefine", vm)
    wait_until(lambda: not _info(host, vm)["persistent"], 10, "it is transient", 0.1)
    assert _state(host, vm) == "inserted"
    host.libvirtd.virsh("destroy", vm)
    wait_until(lambda: host.virtcardd.run("info", vm).returncode == 4, 10, "it is gone", 0.1)


def test_the_log_tells_of_no_fault_of_our_own(host: Host) -> None:
    assert "Traceback" not in host.virtcardd.log
    assert Path(f"/proc/{host.virtcardd.pid}").exists()


@contextmanager
def without_virtcardd(host: Host) -> Iterator[None]:
    """It ends in order, and starts again afterwards."""
    assert host.virtcardd.stop() == 0
    yield
    host.virtcardd.start()


def test_a_card_is_put_in_again_after_a_restart_and_not_in_the_machines_next_run(host: Host, vm: str) -> None:
    _start_with_card(host, vm)
    with without_virtcardd(host):
        pass
    _wait_inserted(host, vm)
    with without_virtcardd(host):
        host.libvirtd.virsh("destroy", vm)
        host.libvirtd.virsh("start", vm)
    wait_until(lambda: _state(host, vm) == "empty", 15, "the reader is empty", 0.1)
    assert _info(host, vm)["card"] == ""
    assert (host.libvirtd.directory / "virtcardd/insertions.json").read_text() == "{}"


def test_a_run_is_another_one_although_a_restarted_libvirt_gives_it_the_same_id(host: Host, vm: str) -> None:
    host.libvirtd.kill()
    host.libvirtd.start()
    wait_until(lambda: host.virtcardd.json("status")["libvirt"] == "connected", 20, "libvirt is back")
    _start_with_card(host, vm)
    before = _info(host, vm)["id"]
    with without_virtcardd(host):
        host.libvirtd.virsh("destroy", vm)
        host.libvirtd.kill()
        host.libvirtd.start()
        host.libvirtd.virsh("start", vm)
    wait_until(lambda: _state(host, vm) == "empty", 15, "the reader is empty", 0.1)
    assert _info(host, vm)["id"] == before
    assert _info(host, vm)["card"] == ""


def test_a_yes_to_a_wish_survives_a_restart_and_ends_with_the_run(host: Host, vm: str) -> None:
    async def scene() -> None:
        agent = await AgentPeer.open(host.bus.address, word("once"))
        await agent.register()
        await asyncio.to_thread(host.libvirtd.virsh, "start", vm)
        await asyncio.to_thread(_wait_inserted, host, vm)
        assert len(agent.asked) == 1
        with without_virtcardd(host):
            pass
        await agent.register()
        await asyncio.to_thread(_wait_inserted, host, vm)
        assert len(agent.asked) == 1
        await asyncio.to_thread(host.libvirtd.virsh, "destroy", vm)
        await asyncio.to_thread(host.libvirtd.virsh, "start", vm)
        await eventually(lambda: len(agent.asked) == 2, "the next run is asked for", 15)

    host.virtcardd.policy('[[rule]]\naction = "ask"\n')
    try:
        host.virtcardd.virtcard("insert", vm, READER, "--config")
        run_async(scene())
    finally:
        host.virtcardd.policy(ALLOW_ALL)
