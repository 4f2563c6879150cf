"""Two real guests and opensc-tool of the host at one card in one reader: nothing of one ever reaches another.

The card knows its users and tells in each answer whose question it was (`helpers.witness`). The guest `one` has a PIN,
`two` has none and asks for what needs one all the same; so does the host.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import pytest

from helpers.dressed import dressed
from helpers.guest import Guest
from helpers.host import Host, private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import Usb, domain_xml, libvirt_guest, smartcard_xml
from helpers.pcsc_lab import Lab, running_lab
from helpers.pcscd import READERS
from helpers.waiting import wait_until
from helpers.witness import User, Visitor, WitnessCard
from virtcard import limits
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.base import Card
from virtcard.card.lease.rules import LeaseTimes
from virtcard.card.reader_source import ReaderSource
from virtcard.card.selection import Selection
from virtcard.service.wardrobe import Wardrobe

NAMES: Sequence[tuple[str, Usb]] = (("one", "xhci"), ("two", "uhci"))
SEED = time.time_ns() % 1_000_000
SECONDS, SOAK_SECONDS = 20.0, 300.0
TIMES = LeaseTimes(idle=0.2, idle_logged_in=0.4, last_call=1.5, longest=2.5)
"""Short leases, so that the card changes hands often: a guest's command takes a tenth of a second on a test machine."""
USE = '[[rule]]\naction = "allow"\n'
TOOL_PATIENCE = 150.0
VISIT_PATIENCE = 300.0
"""Seconds. In one visit a guest may have to wait for several leases of the other one."""


@dataclass
class HostLoop:
    """opensc-tool of the host, again and again: an echo of its own, and a command that needs a login."""

    environment: Mapping[str, str]
    waits: list[float] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        """Until it is over."""
        rng = Random(SEED)
        while not over.is_set():
            self._once(rng.randbytes(8))
            over.wait(limits.LEASE_PAUSE)

    def _once(self, token: bytes) -> None:
        sends = (b"\x00\x2a\x9e\x9a\x08" + token + b"\0", b"\x00\x88\x00\x00\x08" + token + b"\0")
        words = [word for send in sends for word in ("-s", send.hex(":"))]
        began = time.monotonic()
        done = subprocess.run(
            ["opensc-tool", "-c", "default", *words],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=TOOL_PATIENCE,
        )
        self.waits.append(time.monotonic() - began)
        echoed, _, protected = done.stdout.partition("Received")[2].partition("Received")
        if token.hex(" ").upper() not in echoed.partition("Sending")[0]:
            self.mistakes.append(f"another's answer: {done.stdout}{done.stderr}")
        if "SW1=0x69, SW2=0x82" not in protected:
            self.mistakes.append(f"another's login: {done.stdout}{done.stderr}")

    def __str__(self) -> str:
        return (
            f"host: opensc-tool {len(self.waits)} times, median {median(self.waits):.2f} s, "
            f"longest {max(self.waits):.2f} s, {len(self.mistakes)} wrong: {self.mistakes[:2]}"
        )


def user(name: str, guest: Guest) -> Visitor:
    """Somebody in a guest: the commands of each visit go over one handle of the guest's PC/SC."""

    def exchange_all(commands: list[bytes]) -> list[bytes | None]:
        lines = guest.scard(*(command.hex() for command in commands), timeout=VISIT_PATIENCE).output.splitlines()
        answers = [None if " error " in line else bytes.fromhex(line.split()[1]) for line in lines]
        return answers if len(answers) == len(commands) else [None] * len(commands)

    return Visitor(name, exchange_all, SEED, knows_pin=name == "one")


def share(users: Sequence[User], environment: Mapping[str, str], seconds: float) -> HostLoop:
    """Everybody at work at the same time, and what came of it, on the test's output."""
    over, host = threading.Event(), HostLoop(environment)
    threads = [threading.Thread(target=user.run, args=(over.is_set,)) for user in users]
    threads.append(threading.Thread(target=host.run, args=(over,)))
    print(f"seed {SEED}")
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join(VISIT_PATIENCE)
        assert not thread.is_alive()
    print(*users, host, sep="\n")
    return host


def check(users: Sequence[User], host: HostLoop, least: int) -> None:
    """Every answer was for its asker, and who has no PIN got nothing that needs one."""
    one, two = users
    assert not [mistake for each in users for mistake in each.mistakes]
    assert not host.mistakes
    assert min(one.answers, two.answers) >= least
    assert one.proven > 0
    assert two.proven == 0 < two.denied


# Bridges of this process, dressed as the service does it, with short leases


@pytest.fixture(scope="module")
def guests(libvirtd: Libvirtd) -> Iterator[dict[str, Guest]]:
    """Both, booted, each with an empty reader."""
    with ExitStack() as stack:
        booted = {}
        for name, usb in NAMES:
            devices = smartcard_xml(libvirtd.directory / f"{name}.card")
            booted[name] = stack.enter_context(libvirt_guest(libvirtd, f"shares-{name}", usb, devices))
        for guest in booted.values():
            guest.wait_for_readers(1)
        yield booted


Wiring = Callable[[Lab], Callable[[], Card]]
"""What a guest's card is, once for each guest."""


def leased(lab: Lab) -> Callable[[], Card]:
    """All that the service puts around a card."""
    source, wardrobe = ReaderSource(lab.watcher, lab.contexts, TIMES), Wardrobe(lambda _fitting, _operation: False)
    return lambda: dressed(source.open(READERS[0]), USE, wardrobe=wardrobe, reader=READERS[0]).card


def without_leases(lab: Lab) -> Callable[[], Card]:
    return lambda: Selection(lab.card())


@contextmanager
def sharing(libvirtd: Libvirtd, guests: dict[str, Guest], wiring: Wiring) -> Iterator[tuple[Lab, list[User]]]:
    """Both guests have the card in."""
    with running_lab() as lab, ExitStack() as stack:
        lab.plug(WitnessCard("one", "host"))
        card = wiring(lab)
        for name in guests:
            stack.enter_context(_in_guest(libvirtd.directory / f"{name}.card", card()))
        for guest in guests.values():
            guest.wait_reader_state("present")
        yield lab, [user(name, guest) for name, guest in guests.items()]
    for guest in guests.values():
        guest.wait_reader_state("empty")


@contextmanager
def _in_guest(path: Path, card: Card) -> Iterator[None]:
    bridge = Bridge(Endpoint.unix(str(path)), lambda status: None)
    bridge.start()
    bridge.insert(card)
    try:
        yield
    finally:
        bridge.stop()
        assert bridge.join(20)


def test_nothing_crosses_between_two_guests_and_the_host(libvirtd: Libvirtd, guests: dict[str, Guest]) -> None:
    with sharing(libvirtd, guests, leased) as (lab, users):
        check(users, share(users, lab.pcscd.environment, SECONDS), 20)


@pytest.mark.soak(minutes=6)
def test_nothing_crosses_between_two_guests_and_the_host_for_five_minutes(
    libvirtd: Libvirtd, guests: dict[str, Guest]
) -> None:
    with sharing(libvirtd, guests, leased) as (lab, users):
        check(users, share(users, lab.pcscd.environment, SOAK_SECONDS), 200)


def test_without_leases_it_does(libvirtd: Libvirtd, guests: dict[str, Guest]) -> None:
    """So the check can fail."""
    with sharing(libvirtd, guests, without_leases) as (lab, users):
        host = share(users, lab.pcscd.environment, SECONDS)
    mistakes = [mistake for each in users for mistake in each.mistakes]
    assert mistakes + host.mistakes
    assert users[1].proven or host.mistakes


# virtcardd itself, with the real times


@contextmanager
def _domain(host: Host, name: str, usb: Usb) -> Iterator[Guest]:
    """A domain that virtcard gave its reader and the card, booted."""
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(domain_xml(host.libvirtd.directory, name, usb))
    try:
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is on the bus")
        host.virtcardd.virtcard("enable", name)
        host.libvirtd.virsh("start", name)
        with closing(Guest(Path(host.libvirtd.directory), name)) as guest:
            guest.wait_until_up()
            guest.wait_for_readers(1)
            host.virtcardd.virtcard("insert", name, f"reader:{READERS[0]}")
            guest.wait_reader_state("present")
            yield guest
    finally:
        with closing(host.libvirtd.open()) as connection:
            domain = connection.lookupByName(name)
            if domain.isActive():
                domain.destroy()
            domain.undefine()


@pytest.mark.soak(minutes=6)
def test_the_host_waits_a_minute_at_most_beside_two_busy_guests_for_five_minutes(libvirtd: Libvirtd) -> None:
    """The numbers of README. A guest that waits for longer than 15 s is refused, and keeps its place."""
    with private_host(libvirtd) as host, ExitStack() as stack:
        host.virtcardd.policy(USE)
        host.slots[0].plug(WitnessCard("one", "host"))
        wait_until(lambda: any(reader["present"] for reader in host.virtcardd.json("readers")), 10, "the card is in")
        users = [user(name, stack.enter_context(_domain(host, f"job-{name}", usb))) for name, usb in NAMES]
        done = share(users, host.pcscd.environment, SOAK_SECONDS)
        check(users, done, 50)
        print(*(host.virtcardd.json("info", f"job-{name}")["bridges"][0] for name, _ in NAMES), sep="\n")
    assert max(done.waits) <= limits.LEASE_MAX + limits.LEASE_PAUSE + 5
    assert len(done.waits) >= 4
