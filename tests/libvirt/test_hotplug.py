"""Readers that come and go while a real machine runs: over QEMU's monitor, and only where a rule says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import libvirt
import pytest

from helpers.domains import EHCI_ONLY, UHCI, XHCI, domain_uuid, qemu_xml
from helpers.host import Host, private_host
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.names import HOTPLUG_NAMESPACE, METADATA_KEY, WISH_NAMESPACE, hotplug_socket_name

NUMBERS = count()
FIRST, SECOND = "reader:Virtual PCD 00 00", "reader:Virtual PCD 00 01"
HOTPLUG = ALLOW_ALL + 'monitor = "hotplug"\n'


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Everything, with a card in each reader."""
    with private_host() as running:
        for slot in running.slots:
            slot.plug(ScriptedCard())
        wait_until(lambda: sum(reader["present"] for reader in running.virtcardd.json("readers")) == 2, 10, "the cards")
        yield running


@pytest.fixture(autouse=True)
def policy(host: Host) -> None:
    """Every machine may be given readers while it runs."""
    _policy(host, HOTPLUG)


def _policy(host: Host, rules: str) -> None:
    host.virtcardd.policy(rules)
    host.virtcardd.virtcard("policy", "reload")


def _started(host: Host, usb: str = XHCI) -> str:
    name = f"hot{next(NUMBERS)}"
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(qemu_xml(name, usb=usb)).create()
    wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is known", 0.1)
    return name


def _end(host: Host, name: str) -> None:
    with closing(host.libvirtd.open()) as connection:
        domain = connection.lookupByName(name)
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


@pytest.fixture
def vm(host: Host) -> Iterator[str]:
    """A machine that runs, without a reader."""
    name = _started(host)
    yield name
    _end(host, name)


def _info(host: Host, vm: str) -> dict[str, Any]:
    info: dict[str, Any] = host.virtcardd.json("info", vm)
    return info


def _states(host: Host, vm: str) -> dict[int, tuple[str, str]]:
    """By slot: state and source of its bridge."""
    return {each["slot"]: (each["state"], each["source"]) for each in _info(host, vm)["bridges"]}


def _wait(host: Host, vm: str, states: dict[int, tuple[str, str]]) -> None:
    wait_until(lambda: _states(host, vm) == states, 15, f"{vm} has {states}", 0.1)


def _usb(host: Host, vm: str) -> list[str]:
    """The names of the hot-plugged devices on QEMU's USB buses."""
    text = host.libvirtd.virsh("qemu-monitor-command", vm, "--hmp", "info usb")
    return [line.rpartition("ID: ")[2].strip() for line in text.splitlines() if "ID: virtcard" in line]


def _socket(host: Host, vm: str, slot: int = 1) -> Path:
    return host.libvirtd.directory / "virtcard/hotplug" / hotplug_socket_name(domain_uuid(vm), slot)


def test_a_running_machine_gets_a_reader_and_a_card_at_once(host: Host, vm: str) -> None:
    done = host.virtcardd.run("enable", vm, "--hotplug")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Domain '{vm}' has one more virtual reader, in slot 1.\n"
    _wait(host, vm, {1: ("empty", "")})
    assert host.virtcardd.virtcard("insert", vm, FIRST) == f"{FIRST} is in domain '{vm}'.\n"
    assert _states(host, vm) == {1: ("inserted", FIRST)}
    assert _usb(host, vm) == ["virtcard-reader1"]
    assert not _info(host, vm)["enabled"], "the configuration has nothing of it"


def test_who_hot_plugs_is_told_what_it_costs(host: Host, vm: str) -> None:
    told = host.virtcardd.run("enable", vm, "--hotplug").stderr
    assert "libvirt cannot migrate it" in told
    assert f"virtcard prepare-migrate {vm}" in told
    assert "tainted" in told
    assert "tainted: custom monitor control commands issued" in _messages(host, vm)
    assert "libvirt cannot migrate it" in host.virtcardd.run("info", vm).stderr


def _messages(host: Host, vm: str) -> list[str]:
    with closing(host.libvirtd.open()) as connection:
        messages: list[str] = connection.lookupByName(vm).messages(0)
        return messages


def test_disable_takes_the_reader_back_and_leaves_nothing(host: Host, vm: str) -> None:
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", "")})
    host.virtcardd.virtcard("insert", vm, FIRST)
    assert host.virtcardd.virtcard("disable", vm, "--hotplug") == f"Domain '{vm}' has no reader in slot 1 any more.\n"
    assert _states(host, vm) == {}
    assert _usb(host, vm) == []
    assert HOTPLUG_NAMESPACE not in host.libvirtd.virsh("dumpxml", vm)
    assert not _socket(host, vm).exists()
    chardevs = host.libvirtd.virsh("qemu-monitor-command", vm, '{"execute": "query-chardev"}')
    assert '"virtcard1"' not in chardevs
    assert _info(host, vm)["hotplugged"] == []


def test_a_machine_that_hangs_while_it_gets_a_reader_has_it_when_it_goes_on(host: Host, vm: str) -> None:
    """libvirt waits for QEMU longer than virtcardd for libvirt, and makes the reader after all."""
    qemu = int((host.libvirtd.directory / f"libvirt/qemu/run/{vm}.pid").read_text())
    os.kill(qemu, signal.SIGSTOP)
    try:
        done = host.virtcardd.run("enable", vm, "--hotplug")
        assert done.returncode == 6, done.stderr
    finally:
        os.kill(qemu, signal.SIGCONT)
    _wait(host, vm, {1: ("empty", "")})
    assert _usb(host, vm) == ["virtcard-reader1"]
    host.virtcardd.virtcard("insert", vm, FIRST)
    host.virtcardd.virtcard("disable", vm, "--hotplug")
    assert _usb(host, vm) == []


def test_disable_takes_the_readers_of_a_transient_machine_back(host: Host) -> None:
    name = f"hot{next(NUMBERS)}"
    with closing(host.libvirtd.open()) as connection:
        connection.createXML(qemu_xml(name, usb=XHCI))
    try:
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is known", 0.1)
        refused = host.virtcardd.run("disable", name)
        assert "is transient: it has no configuration to change." in refused.stderr
        host.virtcardd.virtcard("enable", name, "--hotplug")
        _wait(host, name, {1: ("empty", "")})
        host.virtcardd.virtcard("insert", name, FIRST)
        assert host.virtcardd.run("disable", name, "--dry-run").returncode == 0
        assert _states(host, name) == {1: ("inserted", FIRST)}
        host.virtcardd.virtcard("disable", name)
        assert (_states(host, name), _usb(host, name)) == ({}, [])
        assert not _info(host, name)["persistent"]
    finally:
        host.libvirtd.virsh("destroy", name)


def test_several_readers_in_one_machine_have_their_own_cards(host: Host, vm: str) -> None:
    for _ in range(2):
        host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", ""), 2: ("empty", "")})
    host.virtcardd.virtcard("insert", vm, SECOND, "--slot", "2")
    host.virtcardd.virtcard("insert", vm, FIRST)
    assert _states(host, vm) == {1: ("inserted", FIRST), 2: ("inserted", SECOND)}
    line = next(each for each in host.virtcardd.virtcard("list").splitlines() if vm in each)
    assert "absent +2 hot-plugged" in line
    assert f"1: {FIRST}, 2: {SECOND}" in line
    assert host.virtcardd.virtcard("eject", vm, "--slot", "1") == (
        f"The virtual reader in slot 1 of domain '{vm}' is empty.\n"
    )
    assert _states(host, vm) == {1: ("empty", ""), 2: ("inserted", SECOND)}
    host.virtcardd.virtcard("disable", vm, "--hotplug", "--slot", "1")
    assert _states(host, vm) == {2: ("inserted", SECOND)}
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", ""), 2: ("inserted", SECOND)})


def test_a_reader_beside_that_of_the_configuration(host: Host) -> None:
    name = f"hot{next(NUMBERS)}"
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(qemu_xml(name))
    host.virtcardd.virtcard("enable", name)
    host.libvirtd.virsh("start", name)
    _wait(host, name, {0: ("empty", "")})
    host.virtcardd.virtcard("enable", name, "--hotplug")
    _wait(host, name, {0: ("empty", ""), 1: ("empty", "")})
    host.virtcardd.virtcard("insert", name, FIRST)
    host.virtcardd.virtcard("insert", name, SECOND, "--slot", "1")
    assert _states(host, name) == {0: ("inserted", FIRST), 1: ("inserted", SECOND)}
    assert host.virtcardd.virtcard("prepare-migrate", name) == f"Domain '{name}' has no reader in slot 1 any more.\n"
    assert _states(host, name) == {0: ("inserted", FIRST)}
    host.virtcardd.virtcard("enable", name, "--hotplug")
    host.virtcardd.virtcard("disable", name)
    assert _info(host, name)["hotplugged"] == []
    _end(host, name)


def test_without_a_rule_nobody_touches_the_monitor(host: Host, vm: str) -> None:
    for rules in (ALLOW_ALL, ALLOW_ALL + 'monitor = "heal"\n', HOTPLUG + 'vm = "another"\n' + ALLOW_ALL):
        _policy(host, rules)
        done = host.virtcardd.run("enable", vm, "--hotplug")
        assert done.returncode == 5
        assert "does not let virtcardd give" in done.stderr
        assert 'monitor = "hotplug"' in done.stderr
    assert _messages(host, vm) == []
    assert _info(host, vm)["hotplugged"] == []


def test_a_reader_can_be_taken_away_when_the_rule_is_gone(host: Host, vm: str) -> None:
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _policy(host, ALLOW_ALL)
    host.virtcardd.virtcard("disable", vm, "--hotplug")
    assert _usb(host, vm) == []


def test_the_policy_decides_about_the_card_in_a_hot_plugged_reader_too(host: Host, vm: str) -> None:
    denied = '[[rule]]\naction = "deny"\n'
    _policy(host, HOTPLUG.replace('action = "allow"', f'action = "allow"\ncard = "{SECOND}"') + denied)
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", "")})
    assert host.virtcardd.run("insert", vm, FIRST).returncode == 5
    host.virtcardd.virtcard("insert", vm, SECOND)
    _policy(host, denied)
    _wait(host, vm, {1: ("empty", "")})


def test_a_wish_is_for_the_first_reader_that_comes(host: Host, vm: str) -> None:
    host.libvirtd.virsh(
        "metadata", vm, "--live", "--uri", WISH_NAMESPACE, "--key", METADATA_KEY, "--set", f"<vm card='{FIRST}'/>"
    )
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("inserted", FIRST)})


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_a_daemon_that_comes_back_finds_readers_and_cards(host: Host, vm: str, ending: str) -> None:
    for _ in range(2):
        host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", ""), 2: ("empty", "")})
    host.virtcardd.virtcard("insert", vm, FIRST, "--slot", "2")
    getattr(host.virtcardd, ending)()
    host.virtcardd.start()
    _wait(host, vm, {1: ("empty", ""), 2: ("inserted", FIRST)})


def test_a_machine_that_starts_anew_has_none_of_them(host: Host, vm: str) -> None:
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", "")})
    host.libvirtd.virsh("destroy", vm)
    wait_until(lambda: _states(host, vm) == {}, 10, "the bridge is gone", 0.1)
    host.libvirtd.virsh("start", vm)
    wait_until(lambda: _info(host, vm)["state"] == "running", 10, "it runs", 0.1)
    assert _info(host, vm)["hotplugged"] == []
    assert not _socket(host, vm).exists()
    assert _messages(host, vm) == []


def test_a_socket_of_an_earlier_run_is_in_nobodys_way(host: Host, vm: str) -> None:
    _socket(host, vm).write_text("left over")
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", "")})


def test_two_ports_take_two_readers_and_no_hub_is_made_for_a_third(host: Host) -> None:
    name = _started(host, UHCI)
    for _ in range(2):
        host.virtcardd.virtcard("enable", name, "--hotplug")
    done = host.virtcardd.run("enable", name, "--hotplug")
    assert done.returncode == 1
    assert "QEMU does not take the reader" in done.stderr
    assert _usb(host, name) == ["virtcard-reader1", "virtcard-reader2"]
    assert "Hub" not in host.libvirtd.virsh("qemu-monitor-command", name, "--hmp", "info usb")
    assert _info(host, name)["hotplugged"] == [1, 2]
    _end(host, name)


def test_a_machine_whose_usb_takes_no_reader_is_not_touched(host: Host) -> None:
    name = _started(host, EHCI_ONLY)
    done = host.virtcardd.run("enable", name, "--hotplug")
    assert done.returncode == 1
    assert "no free USB port" in done.stderr
    assert _messages(host, name) == []
    _end(host, name)


def test_a_machine_that_is_off_is_told_of_the_other_way(host: Host, vm: str) -> None:
    host.libvirtd.virsh("destroy", vm)
    done = host.virtcardd.run("enable", vm, "--hotplug")
    assert done.returncode == 1
    assert "is not running" in done.stderr


def test_a_paused_machine_gets_its_reader_and_its_card_when_it_goes_on(host: Host, vm: str) -> None:
    host.libvirtd.virsh("suspend", vm)
    host.virtcardd.virtcard("enable", vm, "--hotplug")
    _wait(host, vm, {1: ("empty", "")})
    done = host.virtcardd.run("insert", vm, FIRST)
    assert done.returncode == 1
    assert "is paused" in done.stderr
    host.libvirtd.virsh("resume", vm)
    host.virtcardd.virtcard("insert", vm, FIRST)


def test_there_is_an_end_to_the_number_of_readers(host: Host) -> None:
    name = _started(host, XHCI.replace("/>", " ports='15'/>"))
    for _ in range(8):
        host.virtcardd.virtcard("enable", name, "--hotplug")
    done = host.virtcardd.run("enable", name, "--hotplug")
    assert "has 8 hot-plugged readers" in done.stderr
    assert host.virtcardd.virtcard("prepare-migrate", "--all").startswith(
        f"Domain '{name}' has no reader in slots 1, 2"
    )
    assert _usb(host, name) == []
    _end(host, name)


def test_slots_that_are_not_there_are_named(host: Host, vm: str) -> None:
    assert "has no reader in slot 3" in host.virtcardd.run("insert", vm, FIRST, "--slot", "3").stderr
    assert "has no reader in slot 3" in host.virtcardd.run("disable", vm, "--hotplug", "--slot", "3").stderr
    assert host.virtcardd.virtcard("disable", vm, "--hotplug") == f"Domain '{vm}' has no hot-plugged reader.\n"
    assert host.virtcardd.run("insert", vm, FIRST, "--slot", "1", "--config").returncode in {1, 2}


def test_metadata_that_lies_about_readers_makes_no_harm(host: Host, vm: str) -> None:
    """Whoever may write it can name readers that QEMU never had: without a rule nobody touches the monitor for it."""
    _policy(host, ALLOW_ALL)
    lie = "<readers slots='1@0.1#0 99@0.1#0 a -1@0.2'/>"
    host.libvirtd.virsh("metadata", vm, "--live", "--uri", HOTPLUG_NAMESPACE, "--key", "x", "--set", lie)
    host.libvirtd.virsh("suspend", vm)
    host.libvirtd.virsh("resume", vm)
    _wait(host, vm, {1: ("connecting", "")})
    assert _messages(host, vm) == []
    assert "no card can be put in it" in _info(host, vm)["last_error"]
    host.virtcardd.virtcard("disable", vm, "--hotplug")
    assert _states(host, vm) == {}


def test_the_log_tells_of_no_fault_of_our_own(host: Host) -> None:
    assert "Traceback" not in host.virtcardd.log
