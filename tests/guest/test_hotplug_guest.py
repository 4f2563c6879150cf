"""What a guest sees of readers that come and go while it runs, and of one whose input gets stuck."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from helpers.guest import Guest
from helpers.host import Host, private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import Usb, libvirt_guest
from helpers.scripted_card import OK, SELECT, WAIT, ScriptedCard
from helpers.virtcardd import ALLOW_ALL
from helpers.waiting import wait_until
from virtcard.names import hotplug_socket_name
from virtcard.wire.vscard import MessageType, encode

FIRST, SECOND = "reader:Virtual PCD 00 00", "reader:Virtual PCD 00 01"
NAMES = {FIRST: b"virtcard", SECOND: b"other"}
PROMPT = 5.0
"""Seconds in which a guest has its error; its own patience is 23."""


@dataclass(slots=True)
class Machine:
    """A guest that booted without a reader, and the host around it."""

    host: Host
    guest: Guest
    cards: tuple[ScriptedCard, ScriptedCard]

    def virtcard(self, verb: str, *words: str) -> str:
        """A verb of the command for this machine."""
        return self.host.virtcardd.virtcard(verb, self.guest.name, *words)

    def states(self) -> dict[int, str]:
        """By slot."""
        bridges = self.host.virtcardd.json("info", self.guest.name)["bridges"]
        return {each["slot"]: each["state"] for each in bridges}

    def plug(self, *slots: int) -> None:
        """One more reader; these it has then, and the guest sees them."""
        self.virtcard("enable", "--hotplug")
        wait_until(lambda: sorted(self.states()) == list(slots), 20, "the readers are there", 0.1)
        wait_until(lambda: "empty" in self.states().values(), 20, "the new one has a bridge", 0.1)
        self.guest.wait_for_readers(len(slots))

    def index(self, source: str) -> int:
        """The guest's number of the reader with this card, as soon as it sees it."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [
                at for at, each in enumerate(self.guest.readers())
                if each.state == "present" and each.atr.endswith(NAMES[source])
            ]  # fmt: skip
            return bool(found)

        wait_until(look, 20, f"the guest sees {source}", 0.1)
        return found[0]


@pytest.fixture(scope="module")
def booted(libvirtd: Libvirtd, usb: Usb) -> Iterator[Machine]:
    with private_host(libvirtd) as host:
        cards = (ScriptedCard(), ScriptedCard(b"\x3b\x05" + NAMES[SECOND]))
        for slot, card in zip(host.slots, cards, strict=True):
            slot.plug(card)
        host.virtcardd.policy(ALLOW_ALL + 'monitor = "hotplug"\n')
        host.virtcardd.virtcard("policy", "reload")
        with libvirt_guest(libvirtd, f"hot-{usb}", usb) as guest:
            yield Machine(host, guest, cards)


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    """Without a reader, before and after."""
    assert booted.guest.readers() == []
    yield booted
    booted.virtcard("disable", "--hotplug")
    booted.guest.wait_for_readers(0)


def test_a_guest_uses_a_reader_that_came_while_it_ran_and_sees_it_go(machine: Machine) -> None:
    machine.plug(1)
    machine.virtcard("insert", FIRST)
    assert machine.guest.transmit(SELECT, index=machine.index(FIRST))[0][0] == 0x61
    assert machine.guest.run("opensc-tool -l").check().count("Gemalto") == 1
    machine.virtcard("disable", "--hotplug")
    machine.guest.wait_for_readers(0)


def test_two_readers_have_their_own_cards_and_one_goes_without_the_other(machine: Machine) -> None:
    machine.plug(1)
    machine.plug(1, 2)
    machine.virtcard("insert", FIRST, "--slot", "1")
    machine.virtcard("insert", SECOND, "--slot", "2")
    for source in (FIRST, SECOND):
        assert machine.guest.transmit(SELECT, index=machine.index(source))[0][0] == 0x61
    machine.virtcard("disable", "--hotplug", "--slot", "1")
    machine.guest.wait_for_readers(1)
    assert machine.guest.transmit(SELECT, index=machine.index(SECOND))[0][0] == 0x61


def test_a_reader_that_is_taken_away_in_a_command_is_an_error_in_time(machine: Machine) -> None:
    machine.plug(1)
    machine.virtcard("insert", FIRST)
    index, card = machine.index(FIRST), machine.cards[0]
    with _asking(machine.guest, index, card) as exit_codes:
        machine.virtcard("disable", "--hotplug")
    assert exit_codes
    assert exit_codes[0] != 0
    machine.plug(1)
    machine.virtcard("insert", FIRST)
    assert machine.guest.transmit(SELECT, index=machine.index(FIRST))[0][0] == 0x61


@contextmanager
def _asking(guest: Guest, index: int, card: ScriptedCard) -> Iterator[list[int]]:
    """A command of the guest is at the card; at the end its exit code must be there soon."""
    exit_codes: list[int] = []
    card.gate.clear()
    asking = threading.Thread(target=lambda: exit_codes.append(guest.scard(WAIT.hex(), index=index).exit_code))
    asking.start()
    try:
        assert card.waiting.wait(10)
        yield exit_codes
        asking.join(PROMPT)
    finally:
        card.gate.set()
        asking.join(60)


def test_a_reader_that_is_freed_has_its_card_again_and_the_guest_notices_a_card_that_came_anew(
    machine: Machine,
) -> None:
    machine.plug(1)
    machine.virtcard("insert", FIRST)
    index = machine.index(FIRST)
    machine.host.virtcardd.kill()
    _leave_half_a_message(machine)
    machine.host.virtcardd.start()
    wait_until(lambda: machine.states() == {1: "inserted"}, 60, "the card is in again", 0.2)
    assert "was stuck, and is free" in machine.host.virtcardd.log
    machine.guest.wait_reader_state("present", index)
    assert machine.guest.transmit(SELECT, index=index)[0][0] == 0x61


def _leave_half_a_message(machine: Machine) -> None:
    """As a client that dies while it sends."""
    uuid = UUID(machine.host.libvirtd.virsh("domuuid", machine.guest.name).strip())
    path = Path(machine.host.libvirtd.directory) / "virtcard/hotplug" / hotplug_socket_name(uuid, 1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(encode(MessageType.APDU, OK * 100)[:50])
        client.shutdown(socket.SHUT_RDWR)


def test_the_log_tells_of_no_fault_of_our_own(booted: Machine) -> None:
    assert "Traceback" not in booted.host.virtcardd.log
