"""What others do to the definition of a real machine with a card in it: rename, redefine, clone, undefine, revert."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from helpers.domains import XHCI, domain_uuid, qemu_xml
from helpers.host import Host, private_host
from helpers.life import remove
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.names import socket_name

NUMBERS = count()
FIRST, SECOND = "reader:Virtual PCD 00 00", "reader:Virtual PCD 00 01"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with private_host() as running:
        for slot in running.slots:
            slot.plug(ScriptedCard())
        wait_until(lambda: sum(reader["present"] for reader in running.virtcardd.json("readers")) == 2, 10, "the cards")
        yield running


@pytest.fixture(autouse=True)
def names(host: Host) -> Iterator[list[str]]:
    """Machines that a test has made, which are gone afterwards."""
    made: list[str] = []
    yield made
    with closing(host.libvirtd.open()) as connection:
        here = {domain.name() for domain in connection.listAllDomains()}
        for name in made:
            if name in here:
                remove(connection, name)


@pytest.fixture
def vm(host: Host, names: list[str]) -> str:
    """A machine that runs with its card in, by a wish."""
    name = f"def{next(NUMBERS)}"
    names.append(name)
    _define(host, qemu_xml(name))
    wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is known", 0.1)
    host.virtcardd.virtcard("enable", name)
    host.virtcardd.virtcard("insert", name, FIRST, "--config")
    host.libvirtd.virsh("start", name)
    _wait_inserted(host, name)
    return name


def _define(host: Host, xml: str) -> None:
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(xml)


def _info(host: Host, vm: str) -> dict[str, Any]:
    info: dict[str, Any] = host.virtcardd.json("info", vm)
    return info


def _bridge(host: Host, vm: str) -> dict[str, Any]:
    bridges: list[dict[str, Any]] = _info(host, vm)["bridges"]
    return bridges[0] if bridges else {}


def _wait_inserted(host: Host, vm: str) -> None:
    wait_until(lambda: _bridge(host, vm).get("state") == "inserted", 20, f"the card is in {vm}", 0.1)


def _xml(host: Host, vm: str, *words: str) -> str:
    return host.libvirtd.virsh("dumpxml", vm, "--inactive", *words)


def _socket(host: Host, vm: str) -> Path:
    return host.libvirtd.directory / "virtcard" / socket_name(domain_uuid(vm))


def test_a_start_after_a_stop_has_the_wished_card_again(host: Host, vm: str) -> None:
    for _ in range(3):
        host.libvirtd.virsh("destroy", vm)
        wait_until(lambda: _bridge(host, vm) == {}, 10, "the bridge has ended", 0.1)
        host.libvirtd.virsh("start", vm)
        _wait_inserted(host, vm)


def test_what_a_call_put_in_is_for_one_run_of_the_machine(host: Host, vm: str) -> None:
    host.virtcardd.virtcard("insert", vm, SECOND)
    host.libvirtd.virsh("destroy", vm)
    wait_until(lambda: _bridge(host, vm) == {}, 10, "the bridge has ended", 0.1)
    host.libvirtd.virsh("start", vm)
    _wait_inserted(host, vm)
    assert _bridge(host, vm)["source"] == FIRST


def test_a_renamed_machine_keeps_reader_and_wish_and_the_policy_goes_by_its_new_name(
    host: Host, vm: str, names: list[str]
) -> None:
    """libvirt renames no machine that runs."""
    host.libvirtd.virsh("destroy", vm)
    new = f"{vm}-new"
    names.append(new)
    host.libvirtd.virsh("domrename", vm, new)
    wait_until(lambda: host.virtcardd.run("info", new).returncode == 0, 10, "the new name is known", 0.1)
    assert host.virtcardd.run("info", vm).returncode == 4
    assert _info(host, new)["uuid"] == str(domain_uuid(vm))
    assert _info(host, new)["enabled"]
    host.virtcardd.policy(f'[[rule]]\nvm = "{new}"\naction = "deny"\n{ALLOW_ALL}')
    host.virtcardd.virtcard("policy", "reload")
    host.libvirtd.virsh("start", new)
    wait_until(lambda: _bridge(host, new).get("state") == "empty", 20, "the reader stays empty", 0.1)
    host.virtcardd.policy(ALLOW_ALL)
    host.virtcardd.virtcard("policy", "reload")
    _wait_inserted(host, new)


def test_a_machine_that_is_redefined_by_others_goes_on_with_its_card(host: Host, vm: str) -> None:
    since = _bridge(host, vm)["since"]
    _define(host, _xml(host, vm).replace("<memory unit='KiB'>32768</memory>", "<memory unit='KiB'>40960</memory>"))
    wait_until(lambda: "40960" in _xml(host, vm), 10, "the change is there", 0.1)
    host.virtcardd.virtcard("status")
    assert _bridge(host, vm)["since"] == since
    assert _info(host, vm)["reader"] == "present"


def test_whoever_defines_a_machine_without_its_reader_and_with_the_wish_gets_it_back(host: Host, vm: str) -> None:
    """As Terraform or Ansible do with the XML that they have of their own."""
    since = _bridge(host, vm)["since"]
    plain = qemu_xml(vm).replace("<memory", f"{_metadata(_xml(host, vm))}<memory", 1)
    _define(host, plain)
    wait_until(lambda: str(_socket(host, vm)) in _xml(host, vm), 10, "the reader is in the configuration again", 0.1)
    assert _info(host, vm)["enabled"]
    assert _bridge(host, vm)["since"] == since, "what runs was not touched"


def _metadata(xml: str) -> str:
    return xml[xml.index("<metadata>") : xml.index("</metadata>") + len("</metadata>")]


def test_whoever_defines_a_machine_without_its_reader_takes_it_away_for_the_next_start(host: Host, vm: str) -> None:
    host.virtcardd.virtcard("eject", vm, "--config")
    host.virtcardd.virtcard("insert", vm, FIRST)
    _define(host, qemu_xml(vm))
    wait_until(lambda: _info(host, vm)["reader"] == "pending-power-cycle", 10, "it is told", 0.1)
    assert _bridge(host, vm)["state"] == "inserted", "the call counts while the machine runs"
    host.libvirtd.virsh("destroy", vm)
    host.libvirtd.virsh("start", vm)
    wait_until(lambda: _info(host, vm)["reader"] == "absent", 10, "it has no reader", 0.1)
    assert _bridge(host, vm) == {}


def test_a_clone_gets_a_socket_of_its_own_and_both_have_the_card(host: Host, vm: str, names: list[str]) -> None:
    """virt-clone copies metadata and socket path as they are (virtinst/cloner.py)."""
    clone = f"{vm}-clone"
    names.append(clone)
    old, new = str(domain_uuid(vm)), str(domain_uuid(clone))
    xml = _xml(host, vm).replace(f"<name>{vm}<", f"<name>{clone}<").replace(f"<uuid>{old}<", f"<uuid>{new}<")
    assert str(_socket(host, vm)) in xml
    _define(host, xml)
    wait_until(lambda: str(_socket(host, clone)) in _xml(host, clone), 10, "the path was rewritten", 0.1)
    host.libvirtd.virsh("start", clone)
    _wait_inserted(host, clone)
    _wait_inserted(host, vm)
    assert str(_socket(host, vm)) in host.libvirtd.virsh("dumpxml", vm)
    readers = {reader["name"]: reader["domains"] for reader in host.virtcardd.json("readers")}
    assert sorted(readers["Virtual PCD 00 00"]) == sorted([old, new])


def test_an_undefined_machine_keeps_its_card_until_it_stops_and_its_name_may_be_used_anew(host: Host, vm: str) -> None:
    since = _bridge(host, vm)["since"]
    host.libvirtd.virsh("undefine", vm)
    wait_until(lambda: not _info(host, vm)["persistent"], 10, "it is transient", 0.1)
    assert _bridge(host, vm)["since"] == since
    assert host.virtcardd.run("enable", vm).returncode == 1
    host.virtcardd.virtcard("eject", vm)
    host.virtcardd.virtcard("insert", vm, SECOND)
    _define(host, qemu_xml(vm))
    wait_until(lambda: _info(host, vm)["persistent"], 10, "it has a configuration again", 0.1)
    assert _bridge(host, vm)["source"] == SECOND


def test_a_snapshot_from_before_the_reader_brings_back_an_xml_without_it(host: Host, names: list[str]) -> None:
    """The wish came later, too: whoever reverts gets what was then, and nothing of ours is left."""
    name = f"def{next(NUMBERS)}"
    names.append(name)
    disk = host.libvirtd.directory / f"{name}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    device = (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )
    _define(host, qemu_xml(name, usb=XHCI + device))
    host.libvirtd.virsh("snapshot-create-as", name, "bare")
    wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is known", 0.1)
    host.virtcardd.virtcard("enable", name)
    host.virtcardd.virtcard("insert", name, FIRST, "--config")
    host.libvirtd.virsh("start", name)
    _wait_inserted(host, name)
    host.libvirtd.virsh("snapshot-revert", name, "bare")
    wait_until(lambda: _info(host, name)["reader"] == "absent", 10, "it is as it was", 0.1)
    assert _bridge(host, name) == {}
    host.virtcardd.virtcard("enable", name)
    host.libvirtd.virsh("start", name)
    wait_until(lambda: _bridge(host, name).get("state") == "empty", 20, "it has a reader again", 0.1)


def test_the_log_tells_of_no_fault_of_our_own(host: Host) -> None:
    assert "Traceback" not in host.virtcardd.log
