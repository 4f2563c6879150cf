"""A machine with a card in use, for tests of what happens to machines: the guest, and what the card has seen of it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from helpers.guest import Guest
from helpers.guest_agent import Result
from helpers.host import Host
from helpers.jobs import FIRST, fetch
from helpers.machines import Usb, domain_xml
from helpers.scripted_card import OK, PROTECTED, VERIFY, WAIT, ScriptedCard, echo
from helpers.waiting import wait_until

NOT_LOGGED_IN = b"\x69\x82"
GUEST_PATIENCE = 40.0
"""Seconds; the ATR that we present keeps the guest waiting for 23."""


@dataclass(slots=True)
class Life:
    """One machine with virtcard's reader and the wish for the card in the first host reader."""

    host: Host
    name: str
    card: ScriptedCard
    guest: Guest
    serial: int = 0

    def virsh(self, command: str, *words: str) -> str:
        """A command of virsh for this machine."""
        return self.host.libvirtd.virsh(command, self.name, *words)

    def state(self) -> str:
        """The state of its bridge, "" without one."""
        return str(self.bridge().get("state", ""))

    def bridge(self) -> dict[str, Any]:
        """Its bridge; empty without one."""
        bridges: list[dict[str, Any]] = self.host.virtcardd.json("info", self.name)["bridges"]
        return bridges[0] if bridges else {}

    def login(self) -> None:
        """The guest logs in to the card, and stays so."""
        assert self.guest.transmit(VERIFY, PROTECTED) == [OK, OK]

    def is_logged_in(self) -> bool:
        """As the guest finds it."""
        (answer,) = self.guest.transmit(PROTECTED)
        assert answer in {OK, NOT_LOGGED_IN}
        return answer == OK

    def works(self) -> None:
        """A command with data that no command had before gets its own answer."""
        self.serial += 1
        data = b"question %d" % self.serial
        assert self.guest.transmit(echo(data), fetch(data)) == [bytes([0x61, len(data)]), data + OK]

    def reconnect(self) -> None:
        """The machine has another QEMU now, or has booted anew."""
        self.guest.close()
        self.guest = Guest(Path(self.host.libvirtd.directory), self.name).wait_until_up()

    def wait_card(self) -> None:
        """The card is in, and the guest sees it."""
        try:
            wait_until(lambda: self.state() == "inserted", 40, "the card is in", 0.1)
            self.guest.wait_reader_state("present", timeout=GUEST_PATIENCE)
        except AssertionError as error:
            log = self.host.virtcardd.log[-3000:]
            raise AssertionError(f"{error}: {self.bridge()}\n{log}") from None

    @contextmanager
    def in_a_command(self) -> Iterator[Asked]:
        """The card works on a command of the guest meanwhile; it goes on at the end of the block at the latest."""
        self.card.gate.clear()
        asked = Asked(self.guest)
        try:
            assert self.card.waiting.wait(10), "the command reaches the card"
            yield asked
        finally:
            self.card.gate.set()


@dataclass(slots=True)
class Asked:
    """A command that waits for the card's gate, asked by the guest."""

    guest: Guest
    results: list[Result | Exception] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self) -> None:
        try:
            self.results.append(self.guest.scard(WAIT.hex(), timeout=GUEST_PATIENCE))
        except Exception as error:  # noqa: BLE001 (the guest may be gone: the test looks at what came)
            self.results.append(error)

    def end(self) -> Result | Exception:
        """What came of it, in time."""
        self.thread.join(3 * GUEST_PATIENCE)
        assert self.results, "the guest's command hangs"
        return self.results[0]


@contextmanager
def life(host: Host, name: str, usb: Usb = "xhci") -> Iterator[Life]:
    """A machine that runs with its card in, with a small disk for snapshots; nothing is left of it afterwards."""
    directory = Path(host.libvirtd.directory)
    disk = directory / f"{name}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    devices = (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )
    card = ScriptedCard()
    host.slots[0].plug(card)
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(domain_xml(directory, name, usb, devices))
    try:
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is on the bus")
        host.virtcardd.virtcard("enable", name)
        host.virtcardd.virtcard("insert", name, FIRST, "--config")
        host.libvirtd.virsh("start", name)
        machine = Life(host, name, card, Guest(directory, name).wait_until_up())
        try:
            machine.guest.wait_for_readers(1)
            machine.wait_card()
            yield machine
        finally:
            machine.guest.close()
    finally:
        host.slots[0].unplug()
        with closing(host.libvirtd.open()) as connection:
            remove(connection, name)


def remove(connection: libvirt.virConnect, name: str) -> None:
    """End a domain, and everything that libvirt keeps of it."""
    domain = connection.lookupByName(name)
    if domain.isActive():
        domain.destroy()
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    domain.undefineFlags(flags)
