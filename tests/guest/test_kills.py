"""virtcardd killed with -9 while a guest tries the PIN of a software card: it is back at once, and no try is won."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from helpers.guest import Guest
from helpers.guest_agent import Result
from helpers.host import Host, private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import Usb, domain_xml
from helpers.soft_cards import PIN_DIGITS, empty_card, leftovers
from helpers.waiting import slowness, wait_until
from virtcard.card.soft.store import Store
from virtcard.limits import EJECT_QUIET, GUEST_PATIENCE, INSERT_GAP

pytestmark = pytest.mark.parametrize("usb", ["xhci"], indirect=True, scope="session")

SEED = time.time_ns() % 1_000_000
VM, CARD = "kills", "work"
SELECT = bytes.fromhex("00a404000ba000000308000010000100").hex()
RIGHT, WRONG = (f"0020008008{digits.hex()}ffff" for digits in (PIN_DIGITS, b"999999"))
FULL = 100
"""PIN tries of the card."""
STREAM = [WRONG, WRONG, RIGHT] * 60
"""What the guest sends, in about a second; virtcardd dies somewhere in it."""
NOT_SELECTED = "6D00"
"""A fresh card's answer to VERIFY."""
CEREMONY = EJECT_QUIET + INSERT_GAP
"""Seconds that a new virtcardd must let pass, or the guest hangs or takes the card for the one that it had."""
RECOVERY = 2.0
"""Seconds from the start of virtcardd to a card that the guest can use, beyond the ceremony: in the quarter of the
rounds in which others kept the machine least busy."""
LOST_APDU = GUEST_PATIENCE + 5.0
"""Seconds of the rare round in which the guest loses an APDU: it sent one in the moment in which QEMU took the card
out, and has its own patience then."""


@dataclass
class Victim:
    """The host, its guest, and the times so far: from each start of virtcardd until the card was in, and in use."""

    host: Host
    guest: Guest
    store: Store
    inserted: list[float] = field(default_factory=list)
    usable: list[float] = field(default_factory=list)

    def report(self) -> None:
        """Shown with pytest -rP."""
        for what, times in (("card in", self.inserted), ("used by the guest", self.usable)):
            print(
                f"{len(times)} kills, {what}: fastest {min(times):.2f} s, median {statistics.median(times):.2f} s,"
                f" 90 of 100 within {sorted(times)[len(times) * 9 // 10]:.2f} s, longest {max(times):.2f} s"
            )


@pytest.fixture
def victim(libvirtd: Libvirtd, usb: Usb) -> Iterator[Victim]:
    with private_host(libvirtd) as host:
        store = Store(Path(host.virtcardd.environment["XDG_DATA_HOME"], "virtcard/cards"))
        empty_card(store, CARD, tries=FULL)
        with closing(libvirtd.open()) as connection:
            domain = connection.defineXML(domain_xml(libvirtd.directory, VM, usb))
            try:
                wait_until(lambda: host.virtcardd.run("info", VM).returncode == 0, 5, "the domain is on the bus")
                host.virtcardd.virtcard("enable", VM)
                domain.create()
                with closing(Guest(libvirtd.directory, VM)) as guest:
                    guest.wait_until_up()
                    guest.wait_for_readers(1)
                    host.virtcardd.virtcard("insert", VM, f"card:{CARD}")
                    guest.wait_reader_state("present")
                    yield Victim(host, guest, store)
            finally:
                domain.destroy()
                domain.undefine()


def kill_once(victim: Victim, rng: Random) -> None:
    """One round; fails when a try is won, the store is damaged or the card does not come back."""
    before = tries(victim)
    results: list[Result] = []
    asking = Thread(target=lambda: results.append(victim.guest.scard(SELECT, *STREAM)))
    asking.start()
    wait_until(lambda: tries(victim) != before, 20, "the guest tries the PIN", 0.002)
    time.sleep(rng.uniform(0, 0.5))
    victim.host.virtcardd.kill()
    left = tries(victim)
    logged = len(victim.host.virtcardd.log)
    began = time.monotonic()
    victim.host.virtcardd.spawn()
    wait_until(lambda: "EVENT=inserted" in victim.host.virtcardd.log[logged:], LOST_APDU, "the card is in", 0.005)
    victim.inserted.append(time.monotonic() - began)
    asking.join(LOST_APDU)
    assert results, "the guest hangs"
    wait_until(lambda: victim.guest.scard(SELECT).exit_code == 0, LOST_APDU, "the guest uses the card", 0.001)
    victim.usable.append(time.monotonic() - began)
    answers, later = until_the_kill(results[0].output)
    assert left in allowed(answers[1:], before), f"{left} tries left of {before}, after {answers[-3:]}"
    assert set(later) <= {NOT_SELECTED}
    assert tries(victim) == left, "nothing is tried that the guest did not ask for after the kill"
    assert leftovers(victim.store.directory) in ([], [f"{CARD}.card.tmp"])


def tries(victim: Victim) -> int:
    """As they are on disk: this fails when the card's file is not whole."""
    return victim.store.read(CARD).pin.tries_left


def until_the_kill(output: str) -> tuple[list[str], list[str]]:
    """What the guest was answered up to its first error, and after it: a busy guest may overlook that the card was out
    for a second, and then asks one that is fresh. Nothing at all is QEMU's answer for an empty slot."""
    answers = ["" if "error" in line else line.partition(" ")[2] for line in output.splitlines()]
    end = answers.index("") if "" in answers else len(answers)
    return answers[:end], [answer for answer in answers[end:] if answer]


def allowed(answers: list[str], before: int) -> set[int]:
    """The tries that may be left when the guest has these answers to its stream, and none to its next command."""
    left = before
    for command, answer in zip(STREAM, answers, strict=False):
        left = FULL if command == RIGHT else left - 1
        assert answer == ("9000" if command == RIGHT else f"63C{min(left, 15):X}"), f"{answer}: {left} should be left"
    unanswered = STREAM[len(answers)] if len(answers) < len(STREAM) else None
    return {left, left - 1} | ({FULL} if unanswered == RIGHT else set()) if unanswered else {left}


def kill_often(victim: Victim, times: int) -> None:
    print(f"seed {SEED}")
    rng = Random(SEED)
    for _ in range(times):
        kill_once(victim, rng)
    victim.report()
    quarter, *_ = statistics.quantiles(victim.usable)
    assert quarter < RECOVERY * slowness() + CEREMONY
    assert max(victim.usable) < LOST_APDU


def test_twenty_kills_win_no_try_and_the_card_is_back_within_two_seconds(victim: Victim) -> None:
    kill_often(victim, 20)


@pytest.mark.soak
def test_five_hundred_kills_win_no_try_and_the_card_is_back_within_two_seconds(victim: Victim) -> None:
    kill_often(victim, 500)
