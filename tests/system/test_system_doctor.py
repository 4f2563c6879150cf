"""`virtcard doctor` on a whole system: happy when all is there, and naming what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from helpers.system_host import SystemHost

RULE = "/usr/share/polkit-1/rules.d/50-virtcard.rules"
BUS_POLICY = "/usr/share/dbus-1/system.d/org.virtcard1.conf"
SOCKETS = "/run/virtcard/vm"


@contextmanager
def without(host: SystemHost, path: str) -> Iterator[None]:
    """As if an administrator had forgotten to install it."""
    host.root.shell(f"mv {path} {path}.away")
    try:
        yield
    finally:
        host.root.shell(f"mv {path}.away {path}")


def complaints(host: SystemHost, user: str = "root") -> dict[str, str]:
    """Every check that is not ok, with its message and hint, but for agents: no desktop is here."""
    done = host.run("doctor", "--json", user=user)
    assert done.returncode in (0, 1), done.stderr
    bad = [each for each in json.loads(done.stdout) if each["result"] != "ok" and each["check"] != "agents"]
    return {each["check"]: f"{each['message']} {each['hint']}" for each in bad}


def test_all_is_well_after_the_installation(host: SystemHost) -> None:
    assert complaints(host) == {}


def test_nobody_who_can_be_asked_is_a_warning(host: SystemHost) -> None:
    (found,) = [each for each in host.json("doctor") if each["check"] == "agents"]
    assert found["result"] == "warning"
    assert "what a rule asks is a no, but for root's own calls" in found["message"]


def test_a_missing_polkit_rule_is_named(host: SystemHost) -> None:
    with without(host, RULE):
        found = complaints(host)
    assert list(found) == ["polkit"]
    assert "No polkit rule lets user virtcard do org.libvirt.unix.manage" in found["polkit"]
    assert "50-virtcard.rules" in found["polkit"]


def test_a_missing_socket_directory_is_named(host: SystemHost) -> None:
    with without(host, SOCKETS):
        found = complaints(host)
    assert list(found) == ["socket-directory"]
    assert "There is no socket directory /run/virtcard/vm" in found["socket-directory"]
    assert "systemd-tmpfiles --create" in found["socket-directory"]


@pytest.fixture
def stopped(host: SystemHost) -> Iterator[None]:
    """virtcardd does not run; it does again afterwards."""
    assert host.stop("virtcardd") == 0
    yield
    host.reload_bus()
    host.start_virtcardd()


def test_a_missing_bus_policy_is_named(host: SystemHost, stopped: None) -> None:
    with without(host, BUS_POLICY):
        host.reload_bus()
        assert host.spawn_virtcardd().wait(10) == 3
        found = complaints(host)
    assert list(found) == ["daemon", "installation"]
    assert BUS_POLICY in found["installation"]
    assert "hint: Is org.virtcard1.conf in /usr/share/dbus-1/system.d" in host.root.log("virtcardd")


def test_a_bus_policy_that_is_gone_while_the_daemon_runs_is_named(host: SystemHost) -> None:
    try:
        with without(host, BUS_POLICY):
            host.reload_bus()
            found = complaints(host)
    finally:
        host.reload_bus()
    assert list(found) == ["daemon", "installation"]
    assert "The bus does not let this user do that" in found["daemon"]


def test_a_daemon_without_its_polkit_rule_serves_and_says_what_it_misses(host: SystemHost, stopped: None) -> None:
    with without(host, RULE):
        host.start_virtcardd()
        found = complaints(host)
        assert list(found) == ["daemon", "polkit"]
        assert "virtcardd has not reached libvirt" in found["daemon"]
        assert "'org.libvirt.unix.manage'" in host.root.log("virtcardd")
    assert host.stop("virtcardd") == 0


def test_somebody_else_is_told_to_ask_root(host: SystemHost) -> None:
    found = complaints(host, user="nobody")
    assert set(found) == {"libvirt", "polkit", "stale-sockets"}
    assert all("Run 'virtcard doctor' as root." in message for message in found.values())
