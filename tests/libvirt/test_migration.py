"""Live migration between two hosts, as both virtcardd see it: the card stays, and the other host's policy decides."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest

from helpers.domains import qemu_xml
from helpers.jobs import FIRST
from helpers.scripted_card import OK, VERIFY
from helpers.two_hosts import DENY_ALL, NAME, Mover, Side, machine_that_moves, two_hosts
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    with two_hosts() as both:
        yield both


@pytest.fixture(scope="module")
def running(sides: tuple[Side, Side]) -> Iterator[Mover]:
    with machine_that_moves(sides, qemu_xml(NAME)) as mover:
        yield mover


@pytest.fixture
def machine(running: Mover) -> Mover:
    """The machine with one reader and the card of the host that it is on; both policies allow everything."""
    running.at.host.virtcardd.virtcard("prepare-migrate", NAME)
    for side in (running.at, running.other):
        side.policy(ALLOW_ALL)
    running.at.wait(slot0="inserted")
    return running


def test_the_card_stays_without_its_login_and_the_other_host_has_one_of_its_own(machine: Mover) -> None:
    left = machine.at
    assert left.card.transmit(VERIFY) == OK
    machine.move()
    wait_until(lambda: not left.card.is_logged_in, 10, "the card that stayed was reset")
    machine.at.wait(slot0="inserted")
    assert not left.knows()
    readers = {reader["name"]: reader["domains"] for reader in left.host.virtcardd.json("readers")}
    assert readers["Virtual PCD 00 00"] == []
    assert machine.at.info()["card"] == FIRST
    assert f"{machine.at.directory}/virtcard/" in machine.at.host.libvirtd.virsh("dumpxml", NAME, "--inactive")


def test_the_policy_of_the_other_host_decides(machine: Mover) -> None:
    machine.other.policy(DENY_ALL)
    machine.move()
    machine.at.wait(slot0="empty")
    assert "does not let" in machine.at.info()["last_error"]
    machine.at.policy(ALLOW_ALL)
    machine.at.wait(slot0="inserted")


def test_a_host_without_virtcardd_takes_the_machine_and_has_a_card_for_it_when_it_comes(machine: Mover) -> None:
    machine.other.host.virtcardd.stop()
    machine.move()
    machine.at.host.virtcardd.start()
    machine.at.wait(slot0="inserted")


def test_a_machine_that_cannot_go_keeps_its_readers_and_its_card(machine: Mover) -> None:
    """QEMU refuses what comes when it lacks a device: the end is the same as when the line breaks."""
    machine.plug()
    machine.other.hook.chmod(0o644)
    try:
        with pytest.raises(libvirt.libvirtError):
            machine.move()
    finally:
        machine.other.hook.chmod(0o755)
    machine.at.wait(slot0="inserted", slot1="empty")
    assert not machine.other.knows()


def test_prepare_migrate_lets_it_go(machine: Mover) -> None:
    machine.plug()
    assert "any more" in machine.at.host.virtcardd.virtcard("prepare-migrate", NAME)
    machine.other.hook.chmod(0o644)
    try:
        machine.move()
    finally:
        machine.at.hook.chmod(0o755)
    machine.at.wait(slot0="inserted")
    assert machine.at.info()["hotplugged"] == []


def test_a_hot_plugged_reader_comes_along_where_libvirt_has_the_hook(machine: Mover) -> None:
    machine.plug()
    for _ in range(2):
        machine.move()
        machine.at.wait(slot0="inserted", slot1="empty")
    machine.at.host.virtcardd.virtcard("prepare-migrate", NAME)
    machine.at.wait(slot0="inserted")


def test_the_logs_tell_of_no_fault_of_our_own(sides: tuple[Side, Side]) -> None:
    for side in sides:
        assert "Traceback" not in side.host.virtcardd.log
