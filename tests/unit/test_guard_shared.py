"""The PIN guard on a card that is shared by leases: what it asked holds until the try, whoever else wants the card."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import pytest

from helpers.dressed import dressed
from helpers.fake_card import ATR, OK
from helpers.guard_table import CAC, CARD_MANAGER, FOREIGN, OPENPGP, PIV
from helpers.pin_cards import CarelessCard, KeyCard
from helpers.shared_card import QUICK, READ, Physical, SharedFake, SharedLab
from helpers.waiting import wait_until
from helpers.wrong_pins import guesses
from virtcard.card.audit import Ledger
from virtcard.card.base import Card
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.office import LeaseOffice
from virtcard.errors import CardError, CardWasReset
from virtcard.service.wardrobe import Wardrobe

SELECT = bytes.fromhex("00A4040005A000000308")
TRIES, WRONG = bytes.fromhex("00200080"), bytes.fromhex("0020008008393939393939FFFF")
PATIENT = replace(QUICK, patience=30.0)
STOPPED = b"\x69\x83"
RESERVE = 1
SEED = time.time_ns() % 1_000_000
RULES = f'[[rule]]\naction = "allow"\npin-reserve = {RESERVE}\n'


class PinPhysical(Physical):
    """A card with a counter; `tried_with` has what it was before each try of a machine."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left
        self.tried_with: list[int] = []

    def host_fails(self) -> None:
        """A program of the host enters a wrong PIN, in a transaction as soon as it gets one."""
        with self.turn:
            self.left = max(0, self.left - 1)


class PinHandle(SharedFake):
    """A machine's handle on it."""

    physical: PinPhysical

    def transmit(self, command: bytes) -> bytes:
        super().transmit(command)
        if command == WRONG:
            self.physical.tried_with.append(self.physical.left)
            self.physical.left -= 1
        return bytes((0x63, 0xC0 | self.physical.left)) if command in (TRIES, WRONG) else OK


class PinLab(SharedLab):
    """Machines, each behind a guard, at one card that has so many tries left."""

    physical: PinPhysical
    handle: type[SharedFake] = PinHandle

    def __init__(self, left: int) -> None:
        super().__init__(PATIENT)
        self.physical = PinPhysical(left)
        self.wardrobe = Wardrobe(lambda _fitting, _operation: False)
        self.ledger = self.wardrobe._pins.of("reader:Reader", ATR)

    def guarded(self, name: str, select: bytes = SELECT, commands: str = "use") -> Card:
        """A machine with the card in, as the service dresses it, and its application selected."""
        leased = Leased(self.handle(self.physical, name), self.office)
        rules = f'{RULES}commands = "{commands}"\n'
        card = dressed(leased, rules, wardrobe=self.wardrobe, reader="Reader").card
        card.power_on()
        assert card.transmit(select) == OK
        return card


def test_a_counter_that_the_host_lowers_meanwhile_is_not_lowered_further() -> None:
    """While a machine waits between question and try, here for another machine's, its lease must not end."""
    lab = PinLab(left=2)
    guard = lab.guarded("vm")
    host = threading.Thread(target=lab.physical.host_fails)
    answers: list[bytes] = []
    machine = threading.Thread(target=lambda: answers.append(guard.transmit(WRONG)))
    with lab.ledger.turn():
        machine.start()
        wait_until(lambda: lab.physical.owner, 5, "the machine has the card")
        host.start()
        host.join(4 * QUICK.idle)
    for thread in (machine, host):
        thread.join(5)
        assert not thread.is_alive()
    assert answers == [b"\x63\xc1"]
    assert lab.physical.tried_with == [2]


def test_machines_and_the_host_at_once_never_try_the_last_one() -> None:
    lab = PinLab(left=8)
    machines = [lab.guarded(name) for name in ("one", "two", "three")]
    refused: list[bytes] = []

    def guess(guard: Card) -> None:
        answer = b""
        while answer != STOPPED:
            answer = guard.transmit(WRONG)
        refused.append(answer)

    threads = [threading.Thread(target=guess, args=(guard,)) for guard in machines]
    threads += [threading.Thread(target=lab.physical.host_fails) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(refused) == 3
    assert min(lab.physical.tried_with) > RESERVE


def test_what_was_lost_with_the_lease_is_brought_back_before_the_card_is_asked() -> None:
    lab = PinLab(left=3)
    guard = lab.guarded("vm")
    wait_until(lambda: lab.physical.owner is None, 5, "the lease has ended")
    assert guard.transmit(WRONG) == b"\x63\xc2"
    assert lab.physical.did("vm")[-5:] == ["begin", "reset", SELECT.hex(), TRIES.hex(), WRONG.hex()]
    assert guard.transmit(READ) == b"\x6d\x00", "the guard still knows what is selected"


class Heard:
    """A tap that notes the commands."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def command(self, command: bytes) -> None:
        self.commands.append(command)

    def powered(self, atr: bytes) -> None: ...

    def response(self, response: bytes) -> None: ...

    def failed(self) -> None: ...

    def refused(self, header: bytes, reason: str) -> None: ...


def test_questions_of_the_guard_are_neither_counted_nor_traced_as_the_guests() -> None:
    physical, ledger, heard = PinPhysical(3), Ledger(), Heard()
    leased = Leased(PinHandle(physical, "vm"), LeaseOffice("Reader", PATIENT))
    card = dressed(leased, RULES, reader="Reader", ledger=ledger).card
    ledger.tap(heard)
    card.power_on()
    assert card.transmit(SELECT) == OK
    assert card.transmit(WRONG) == b"\x63\xc2"
    assert physical.did("vm")[-2:] == [TRIES.hex(), WRONG.hex()], "the card is asked"
    assert heard.commands == [SELECT, WRONG]
    counts = ledger.counts()
    assert counts.commands == {"SELECT": 1, "VERIFY": 1}
    assert (counts.bytes_sent, counts.pin_failures) == (len(SELECT + WRONG), 1)


# Ten thousand, at cards that no software card of ours is like


class SmallCard(PinPhysical):
    """One of `helpers.pin_cards`, as a card that is shared."""

    def __init__(self, card: CarelessCard | KeyCard) -> None:
        super().__init__(0)
        self.card = card


class SmallHandle(SharedFake):
    physical: SmallCard

    def transmit(self, command: bytes) -> bytes:
        super().transmit(command)
        return self.physical.card.transmit(command)


class SmallLab(PinLab):
    """Machines at such a card."""

    handle = SmallHandle

    def __init__(self, card: CarelessCard | KeyCard) -> None:
        super().__init__(0)
        self.physical = self.small = SmallCard(card)

    def besiege(self, name: str, commands: str) -> None:
        """Ten thousand guesses at this application by three machines."""
        print(f"seed {SEED}")
        select = bytes.fromhex(f"00A40400{len(name) // 2:02X}{name}")
        machines = [self.guarded(vm, select, commands) for vm in ("one", "two", "three")]
        threads = [
            threading.Thread(target=_guess, args=(card, select, SEED + number)) for number, card in enumerate(machines)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()


def _guess(card: Card, select: bytes, seed: int) -> None:
    for number, commands in enumerate(islice(guesses(seed), 3_334)):
        for command in (select, *commands) if number % 20 == 0 else commands:
            _sent(card, command)


def _sent(card: Card, command: bytes) -> None:
    """As a bridge does: a card whose state was lost for good goes in anew, and one that fails stays in."""
    with suppress(CardError):
        try:
            card.transmit(command)
        except CardWasReset:
            card.power_on()


class CarefulHost(threading.Thread):
    """A program of the host: wrong PINs down to the reserve, and then the right one."""

    def __init__(self, physical: SmallCard, card: CarelessCard) -> None:
        super().__init__()
        self.over = threading.Event()
        self.wrong = 0
        self._physical, self._card = physical, card

    def run(self) -> None:
        while not self.over.wait(0.005):
            with self._physical.turn:
                lower = self._card.left > RESERVE
                self._card.left = self._card.left - 1 if lower else self._card.most
                self.wrong += lower


@pytest.mark.parametrize("commands", ["use", "full"])
@pytest.mark.parametrize("name", [PIV, CAC, OPENPGP, FOREIGN], ids=["piv", "cac", "openpgp", "other"])
def test_ten_thousand_guesses_beside_a_host_that_errs_leave_a_careless_card_at_its_reserve(
    name: str, commands: str
) -> None:
    """It takes whatever might be a PIN for one; with OpenPGP's it tells by its PW status bytes, of 81, 82 and 83."""
    card = CarelessCard()
    lab = SmallLab(card)
    host = CarefulHost(lab.small, card)
    host.start()
    try:
        lab.besiege(name, commands)
    finally:
        host.over.set()
        host.join(10)
    assert host.wrong > 0
    assert card.least() >= RESERVE


def test_ten_thousand_guesses_at_the_keys_of_a_card_manager_leave_one() -> None:
    card = KeyCard()
    SmallLab(card).besiege(CARD_MANAGER, "full")
    assert card.left == RESERVE
