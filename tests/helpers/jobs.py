"""The main job for tests that break it: a running guest whose virtual reader holds the card of a host reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from helpers.guest import Guest
from helpers.host import Host
from helpers.machines import Usb, domain_xml
from helpers.scripted_card import OK, ScriptedCard, echo
from helpers.waiting import wait_until
from virtcard.bus.client import Client
from virtcard.limits import CALL_PATIENCE, LOST_ANSWER_GAP
from virtcard.names import BRIDGE, DOMAIN

PATIENCE = LOST_ANSWER_GAP + 15
"""Seconds for a card to come in: a guest that lost a command to CardRemove looks no earlier than after the gap."""

FIRST, SECOND = "reader:Virtual PCD 00 00", "reader:Virtual PCD 00 01"
FIRST_NAME, SECOND_NAME = b"virtcard", b"other"
"""The historical bytes of the cards in the two readers."""


@dataclass(slots=True)
class Job:
    """One VM with virtcard's reader, running, and the host around it. `first` is the card in the first host reader."""

    host: Host
    guest: Guest
    name: str
    qemu: int
    first: ScriptedCard
    serial: int = 0

    def insert(self, source: str = FIRST) -> None:
        """Put a card in the virtual reader."""
        self._call("Insert", "sa{sv}", source, {})

    def eject(self) -> None:
        """Take it out."""
        self._call("Eject", "a{sv}", {})

    def wait_card(self, historical: bytes = FIRST_NAME) -> None:
        """Return when virtcardd has put in the card with these historical bytes, and the guest sees it."""
        try:
            wait_until(lambda: self._bridge().get("State") == "inserted", PATIENCE, "the card is inserted")
            wait_until(lambda: self._sees(historical), PATIENCE, f"the guest sees the card {historical.decode()}", 0.01)
        except AssertionError as error:
            log = self.host.virtcardd.log[-3000:]
            raise AssertionError(f"{error}: {self._bridge()} {self.guest.readers()}\n{log}") from None

    def take_out(self) -> None:
        """Pull the card out of the host reader, in the middle of what it does."""
        self.host.slots[0].hang_up()
        self.first.gate.set()
        self.host.slots[0].unplug()

    def put_in(self) -> None:
        """Put a fresh card in the host reader, which the guest has seen empty."""
        self.first = ScriptedCard()
        self.host.slots[0].plug(self.first)

    def exchange(self) -> None:
        """A command with data that no command had before gets its own answer."""
        self.serial += 1
        data = b"question %d" % self.serial
        announced, fetched = self.guest.transmit(echo(data), fetch(data))
        assert announced == bytes([0x61, len(data)])
        assert fetched == data + OK

    def lives(self) -> bool:
        """The VM is still the process that it was."""
        return self.host.libvirtd.qemu_pids() == [self.qemu] and "running" in self.host.libvirtd.virsh(
            "domstate", self.name
        )

    def _sees(self, historical: bytes) -> bool:
        (reader,) = self.guest.readers()
        return reader.state == "present" and reader.atr.endswith(historical)

    def _bridge(self) -> dict[str, Any]:
        with self._client() as client:
            bridges = [each[BRIDGE] for each in client.objects().values() if BRIDGE in each]
        return bridges[0] if bridges else {}

    def _call(self, member: str, signature: str, *body: object) -> None:
        with self._client() as client:
            client.call(client.find_domain(self.name), DOMAIN, member, signature, body, timeout=CALL_PATIENCE)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        with patch.dict(os.environ, self.host.virtcardd.environment), Client.open("session") as client:
            yield client


def fetch(data: bytes) -> bytes:
    """GET RESPONSE for as much."""
    return b"\x00\xc0\x00\x00" + bytes([len(data)])


@contextmanager
def job(host: Host, usb: Usb) -> Iterator[Job]:
    """Everything running, with the first card in the guest; the domain is gone afterwards."""
    first, name = ScriptedCard(), f"faults-{usb}"
    host.slots[0].plug(first)
    host.slots[1].plug(ScriptedCard(b"\x3b\x05" + SECOND_NAME))
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(domain_xml(host.libvirtd.directory, name, usb))
    try:
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 5, "the domain is on the bus")
        host.virtcardd.virtcard("enable", name)
        host.libvirtd.virsh("start", name)
        with closing(Guest(Path(host.libvirtd.directory), name)) as guest:
            guest.wait_until_up()
            guest.wait_for_readers(1)
            (qemu,) = host.libvirtd.qemu_pids()
            running = Job(host, guest, name, qemu, first)
            running.insert()
            running.wait_card()
            yield running
            running.eject()
    finally:
        for slot in host.slots:
            slot.unplug()
        _undefine(host, name)


def _undefine(host: Host, name: str) -> None:
    with closing(host.libvirtd.open()) as connection:
        domain = connection.lookupByName(name)
        if domain.isActive():
            domain.destroy()
        domain.undefine()
