"""Live migration as the guest sees it: another card in the same reader, no login, and no command without an end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from helpers.guest import Guest
from helpers.jobs import FIRST, fetch
from helpers.life import NOT_LOGGED_IN
from helpers.machines import domain_xml
from helpers.scripted_card import OK, PROTECTED, VERIFY, echo
from helpers.two_hosts import DENY_ALL, NAME, Mover, Side, machine_that_moves, two_hosts
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until

PATIENCE = 60.0


@dataclass(slots=True)
class Machine:
    """A machine that moves, and its guest."""

    mover: Mover
    guest: Guest

    @property
    def at(self) -> Side:
        """Where it is."""
        return self.mover.at

    def move(self) -> None:
        """Migrate live."""
        self.mover.move()
        self.guest.close()
        self.guest = Guest(self.at.directory, NAME).wait_until_up()

    def wait_card(self) -> None:
        """The guest sees the card of the host that it is on."""
        self.at.wait(slot0="inserted")
        wait_until(self.sees_card, PATIENCE, "the guest sees it", 0.2)

    def sees_card(self) -> bool:
        """In one of its readers."""
        return any(each.state == "present" and each.atr.endswith(self.at.name) for each in self.guest.readers())

    def login(self) -> None:
        """The guest logs in to its card."""
        assert self.guest.transmit(VERIFY, PROTECTED) == [OK, OK]
        assert self.at.card.is_logged_in

    def works(self, data: bytes) -> None:
        """A command gets its own answer."""
        assert self.guest.transmit(echo(data), fetch(data)) == [bytes([0x61, len(data)]), data + OK]


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    with two_hosts() as both:
        yield both


@pytest.fixture(scope="module")
def running(sides: tuple[Side, Side]) -> Iterator[Machine]:
    """The machine, booted once: it moves to and fro."""
    with machine_that_moves(sides, domain_xml(sides[0].directory, NAME)) as mover:
        machine = Machine(mover, Guest(sides[0].directory, NAME).wait_until_up())
        try:
            yield machine
        finally:
            machine.guest.close()


@pytest.fixture
def machine(running: Machine) -> Machine:
    """The guest is logged in to the card of the host that it is on; both policies allow everything."""
    running.at.host.virtcardd.virtcard("prepare-migrate", NAME)
    for side in (running.mover.at, running.mover.other):
        side.policy(ALLOW_ALL)
    running.wait_card()
    running.login()
    return running


def test_the_guest_has_the_card_of_the_other_host_and_is_not_logged_in(machine: Machine) -> None:
    left = machine.at
    machine.move()
    machine.wait_card()
    assert machine.guest.transmit(PROTECTED) == [NOT_LOGGED_IN]
    machine.works(b"over there")
    machine.login()
    assert not left.card.is_logged_in


def test_a_card_that_the_other_host_denies_leaves_the_guest_without_one(machine: Machine) -> None:
    machine.mover.other.policy(DENY_ALL)
    machine.move()
    machine.at.wait(slot0="empty")
    machine.guest.wait_reader_state("empty", timeout=PATIENCE)
    machine.at.policy(ALLOW_ALL)
    machine.wait_card()
    machine.works(b"allowed now")


def test_a_command_that_is_under_way_ends_in_time_and_shifts_no_answer(machine: Machine) -> None:
    """QEMU does not take along that it owes an answer: the guest gives the command up, and has missed that the card
    was changed meanwhile."""
    card = machine.at.card
    machine.guest.run("rm -f /tmp/said; (scard run 0 80140000; echo ended) > /tmp/said 2>&1 &").check()
    card.gate.clear()
    assert card.waiting.wait(20)
    machine.move()
    card.gate.set()
    wait_until(lambda: "ended" in machine.guest.run("cat /tmp/said").output, PATIENCE, "the guest's command ends", 0.2)
    machine.at.wait(slot0="inserted")
    for number in range(5):
        machine.works(b"question %d" % number)
    machine.at.host.virtcardd.virtcard("eject", NAME)
    machine.at.host.virtcardd.virtcard("insert", NAME, FIRST)
    machine.wait_card()


def test_a_hot_plugged_reader_comes_along_and_takes_a_card(machine: Machine) -> None:
    machine.mover.plug()
    machine.guest.wait_for_readers(2)
    machine.move()
    machine.at.wait(slot0="inserted", slot1="empty")
    machine.guest.wait_for_readers(2)
    machine.at.host.virtcardd.virtcard("eject", NAME)
    machine.at.host.virtcardd.virtcard("insert", NAME, FIRST, "--slot", "1")
    wait_until(machine.sees_card, PATIENCE, "the guest sees the card in it", 0.2)
    machine.at.host.virtcardd.virtcard("disable", NAME, "--hotplug")
    machine.guest.wait_for_readers(1)
    machine.at.host.virtcardd.virtcard("insert", NAME, FIRST)
    machine.wait_card()
    machine.works(b"the first reader is as it was")


def test_the_logs_tell_of_no_fault_of_our_own(sides: tuple[Side, Side]) -> None:
    for side in sides:
        assert "Traceback" not in side.host.virtcardd.log
