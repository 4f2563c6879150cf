"""Machines with hot-plugged readers are saved and restored, where libvirt has our hook."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers.domains import qemu_xml
from helpers.host import Host, private_host
from helpers.libvirtd import private_libvirtd
from helpers.life import remove
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.names import METADATA_KEY, WISH_NAMESPACE

HOOK = Path(__file__).parents[2] / "contrib/hooks/virtcard.py"
READER = "reader:Virtual PCD 00 00"
HOTPLUG = ALLOW_ALL + 'monitor = "hotplug"\n'
VM = "saved"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with private_libvirtd(hook=HOOK) as libvirtd, private_host(libvirtd) as running:
        running.slots[0].plug(ScriptedCard())
        wait_until(lambda: any(reader["present"] for reader in running.virtcardd.json("readers")), 10, "the card")
        yield running


@pytest.fixture
def vm(host: Host) -> Iterator[str]:
    """A machine that runs with two hot-plugged readers, and its card in the first by a wish."""
    _policy(host, HOTPLUG)
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(qemu_xml(VM)).create()
    wait_until(lambda: host.virtcardd.run("info", VM).returncode == 0, 10, "the domain is known", 0.1)
    for _ in range(2):
        host.virtcardd.virtcard("enable", VM, "--hotplug")
    wish = f"<vm card='{READER}'/>"
    host.libvirtd.virsh("metadata", VM, "--live", "--uri", WISH_NAMESPACE, "--key", METADATA_KEY, "--set", wish)
    _wait(host, {1: "inserted", 2: "empty"})
    yield VM
    with closing(host.libvirtd.open()) as connection:
        remove(connection, VM)


def _policy(host: Host, rules: str) -> None:
    host.virtcardd.policy(rules)
    host.virtcardd.virtcard("policy", "reload")


def _info(host: Host) -> dict[str, Any]:
    info: dict[str, Any] = host.virtcardd.json("info", VM)
    return info


def _wait(host: Host, states: dict[int, str]) -> None:
    def found() -> dict[int, str]:
        return {each["slot"]: each["state"] for each in _info(host)["bridges"]}

    wait_until(lambda: found() == states, 30, f"the bridges are {states}", 0.1)


def _usb(host: Host) -> list[str]:
    text = host.libvirtd.virsh("qemu-monitor-command", VM, "--hmp", "info usb")
    return [line.split("Port ")[1][0] for line in text.splitlines() if "ID: virtcard" in line]


@pytest.mark.parametrize("times", [1, 2])
def test_a_saved_machine_comes_back_with_its_readers_and_its_card(host: Host, vm: str, times: int) -> None:
    before = _usb(host)
    for _ in range(times):
        host.libvirtd.virsh("managedsave", vm)
        wait_until(lambda: _info(host)["state"] == "shut off", 10, "it is saved", 0.1)
        host.libvirtd.virsh("start", vm)
        _wait(host, {1: "inserted", 2: "empty"})
        assert sorted(_usb(host)) == sorted(before)


def test_a_reader_that_is_taken_away_later_does_not_come_back_with_the_next_image(host: Host, vm: str) -> None:
    host.libvirtd.virsh("managedsave", vm)
    host.libvirtd.virsh("start", vm)
    _wait(host, {1: "inserted", 2: "empty"})
    host.virtcardd.virtcard("prepare-migrate", vm)
    host.libvirtd.virsh("managedsave", vm)
    host.libvirtd.virsh("start", vm)
    wait_until(lambda: _info(host)["state"] == "running", 10, "it runs", 0.1)
    assert _usb(host) == []


def test_without_a_rule_a_person_is_told_what_to_do_with_readers_that_came_along(host: Host, vm: str) -> None:
    host.libvirtd.virsh("managedsave", vm)
    _policy(host, ALLOW_ALL)
    host.libvirtd.virsh("start", vm)
    wait_until(lambda: _info(host)["last_error"], 10, "it is told", 0.1)
    assert "no card can be put in it" in _info(host)["last_error"]
    assert f"hint: Run 'virtcard disable {vm} --hotplug'." in host.virtcardd.virtcard("status")
    host.virtcardd.virtcard("disable", vm, "--hotplug")
    assert (_usb(host), _info(host)["last_error"]) == ([], "")


def test_without_the_hook_what_was_saved_cannot_be_restored(host: Host, vm: str) -> None:
    """The fact that the warning is about: QEMU gets the state of devices that it does not have."""
    hook = host.libvirtd.directory / "hooks/qemu.d/virtcard"
    hook.chmod(0o644)
    try:
        host.libvirtd.virsh("managedsave", vm)
        with pytest.raises(subprocess.CalledProcessError):
            host.libvirtd.virsh("start", vm)
        said = host.libvirtd.directory / f"cache/libvirt/qemu/log/{vm}.log"
        wait_until(lambda: "Unknown savevm section" in said.read_text(), 10, "QEMU says why")
    finally:
        hook.chmod(0o755)
    host.libvirtd.virsh("start", vm)
    _wait(host, {1: "inserted", 2: "empty"})


def test_the_log_tells_of_no_fault_of_our_own(host: Host) -> None:
    assert "Traceback" not in host.virtcardd.log
