"""Readers for a machine that runs, made by the system's daemon as its unit confines it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.guest import Guest
from helpers.system_host import SystemHost
from helpers.waiting import wait_until

RULES = "/etc/virtcard/policy.d/40-hotplug.toml"
RULE = '[[rule]]\nvm = "job"\naction = "allow"\nmonitor = "hotplug"\n'
HOT_PLUGGED = "/run/virtcard/hotplug"


@pytest.fixture
def permitted(host: SystemHost) -> Iterator[None]:
    host.root.check("mkdir", "--parents", "/etc/virtcard/policy.d")
    host.root.check("tee", RULES, stdin=RULE)
    host.virtcard("policy", "reload")
    yield
    host.root.check("rm", RULES)
    host.virtcard("policy", "reload")


def slots(host: SystemHost, vm: str) -> list[int]:
    return [bridge["slot"] for bridge in host.json("info", vm)["bridges"] if bridge["state"] != "connecting"]


def sockets(host: SystemHost) -> list[str]:
    return host.root.check("find", HOT_PLUGGED, "-type", "s").split()


@pytest.mark.usefixtures("permitted")
def test_a_running_machine_gets_another_reader_with_a_card(host: SystemHost, vm: str, guest: Guest) -> None:
    host.virtcard("enable", vm, "--hotplug")
    try:
        wait_until(lambda: slots(host, vm) == [0, 1], 20, "both readers have a bridge", 0.1)
        assert len(sockets(host)) == 1
        host.virtcard("insert", vm, "reader:Virtual PCD 00 01", "--slot", "1")
        assert len(guest.wait_for_readers(2)) == 2
        wait_until(lambda: "present" in {reader.state for reader in guest.readers()}, 20, "the card is there", 0.2)
    finally:
        host.virtcard("disable", vm, "--hotplug")
    guest.wait_for_readers(1)
    assert slots(host, vm) == [0]
    assert sockets(host) == []


def test_without_a_rule_there_is_none(host: SystemHost, vm: str, guest: Guest) -> None:
    refused = host.run("enable", vm, "--hotplug")
    assert refused.returncode == 5
    assert 'monitor = "hotplug"' in refused.stderr
    assert len(guest.readers()) == 1
