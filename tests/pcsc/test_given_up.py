"""A PIN that waits, for a person or for another machine's lease, while its guest gets an error or is reset: on a real
pcscd, by real bridges with all that the service puts before a card, it does not reach the card any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from helpers.bridges import SHORT, Watched
from helpers.dressed import dressed
from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.qemu_peer import NotTransacted, QemuPeer
from helpers.scripted_card import ATR_T1, OK, PROTECTED, SELECT, VERIFY, ScriptedCard
from helpers.waiting import wait_until
from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.timers import Timers
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.rules import LeaseTimes
from virtcard.card.lease.states import LeaseState
from virtcard.card.reader_source import ReaderSource
from virtcard.service.wardrobe import Dressed, Wardrobe

TIMES = LeaseTimes(idle=0.2, idle_logged_in=20.0, last_call=30.0, longest=40.0, pause=0.05, patience=10.0)
"""A login is kept until a test ends it."""
RULES = '[[rule]]\naction = "allow"\ncommands = "full"\nsharing = "shared"\n'
ASKED = RULES.replace('"allow"', '"ask"') + 'ask-for = ["pin"]\n'
WRONG = b"\x00\x20\x00\x80\x06999999"
DENIED = b"\x69\x82"
PATIENT = {Timer.TRANSMIT: 10.0}


class Counting(ScriptedCard):
    """It notes every PIN."""

    def __init__(self) -> None:
        super().__init__(ATR_T1)
        self.pins: list[bytes] = []

    def transmit(self, command: bytes) -> bytes:
        if command[1] == 0x20 and len(command) > 5:
            self.pins.append(command)
        return super().transmit(command)


class Person:
    """Is asked for a PIN, and says yes when a test lets it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answers = threading.Event()

    def ask(self, *_question: object) -> bool:
        self.asked.set()
        return self.answers.wait(20)


class Machine:
    """A guest with the card in, behind a bridge."""

    def __init__(self, peer: QemuPeer, watched: Watched, card: Dressed, leased: Leased) -> None:
        self.peer, self.watched, self.card, self.leased = peer, watched, card, leased

    def put_in(self) -> None:
        self.watched.forget()
        self.watched.bridge.insert(self.card.card)
        self.is_in()

    def is_in(self) -> None:
        """Also again, when it was put in anew."""
        self.watched.wait(BridgeState.INSERTED)
        assert self.peer.exchange(SELECT)[-2:] == OK

    def waits_with_a_pin(self) -> None:
        """It has sent a wrong PIN, and waits for the lease."""
        self.peer.send_apdu(WRONG)
        wait_until(lambda: self.leased._office.waiting, 5, "it waits for the lease")

    def has_an_error(self) -> None:
        with pytest.raises(NotTransacted):
            self.peer.answer(5)


class House:
    """Two machines at one card, and a person."""

    def __init__(self, lab: Lab, directory: Path, stack: ExitStack) -> None:
        self.card = Counting()
        lab.plug(self.card)
        self.person = Person()
        self._source = ReaderSource(lab.watcher, lab.contexts, TIMES)
        self._wardrobe = Wardrobe(self.person.ask)
        self._directory = directory
        self._stack = stack
        self._timers = Timers()
        stack.callback(self._timers.close)

    def machine(self, name: str, rules: str = RULES, patience: dict[Timer, float] = PATIENT) -> Machine:
        path = self._directory / name
        peer = QemuPeer(path)
        self._stack.callback(peer.close)
        watched = Watched(Endpoint.unix(str(path)), self._timers, Random(1), patience=patience)
        watched.bridge.start()
        self._stack.callback(lambda: watched.bridge.join(10))
        self._stack.callback(watched.bridge.stop)
        leased = self._source.open(READERS[0])
        card = dressed(leased, rules, wardrobe=self._wardrobe, vm=name, reader=READERS[0])
        machine = Machine(peer, watched, card, leased)
        machine.put_in()
        return machine

    def holder(self) -> Machine:
        """A machine that is logged in, and has the lease."""
        machine = self.machine("holder")
        assert machine.peer.exchange(VERIFY) == OK
        return machine


@pytest.fixture
def house(lab: Lab, tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(lab, tmp_path, stack)


@pytest.fixture
def let_go() -> Callable[[Machine], None]:
    """The holder's lease ends, and whoever waits has the card."""

    def end(holder: Machine) -> None:
        holder.card.logout()
        wait_until(lambda: holder.leased._state is LeaseState.LOGGED_OUT, 5, "the lease has ended")

    return end


def test_pin_that_waits_for_a_lease_when_its_card_is_ejected_is_not_tried(
    house: House, let_go: Callable[[Machine], None]
) -> None:
    victim, holder = house.machine("victim"), house.holder()
    victim.waits_with_a_pin()
    victim.watched.bridge.eject()
    victim.has_an_error()
    victim.watched.wait(BridgeState.EMPTY)
    let_go(holder)
    victim.put_in()
    assert house.card.pins == [VERIFY]
    assert victim.peer.exchange(WRONG)[0] == 0x63, "and now it is"
    assert house.card.pins == [VERIFY, WRONG]


def test_pin_that_waits_for_a_lease_longer_than_its_guest_is_not_tried(
    house: House, let_go: Callable[[Machine], None]
) -> None:
    victim, holder = house.machine("victim", patience=SHORT), house.holder()
    victim.waits_with_a_pin()
    victim.has_an_error()
    victim.watched.wait(BridgeState.EMPTY)
    let_go(holder)
    victim.is_in()
    assert house.card.pins == [VERIFY]


def test_pin_that_a_person_allows_when_its_guest_has_given_up_is_not_tried(house: House) -> None:
    victim = house.machine("victim", ASKED, SHORT)
    victim.peer.send_apdu(WRONG)
    assert house.person.asked.wait(5)
    victim.has_an_error()
    victim.watched.wait(BridgeState.EMPTY)
    house.person.answers.set()
    victim.is_in()
    assert house.card.pins == []


def test_pin_that_a_person_allows_and_that_then_waits_too_long_is_not_tried(
    house: House, let_go: Callable[[Machine], None]
) -> None:
    victim, holder = house.machine("victim", ASKED, {Timer.TRANSMIT: 1.0}), house.holder()
    victim.peer.send_apdu(WRONG)
    assert house.person.asked.wait(5)
    house.person.answers.set()
    wait_until(lambda: victim.leased._office.waiting, 5, "it waits for the lease")
    victim.has_an_error()
    let_go(holder)
    victim.is_in()
    assert house.card.pins == [VERIFY]


def test_pin_that_waits_for_a_lease_when_its_machine_is_reset_is_not_tried(
    house: House, let_go: Callable[[Machine], None]
) -> None:
    """The machine that starts anew would be logged in by a person who is gone."""
    victim, holder = house.machine("victim"), house.holder()
    victim.peer.send_apdu(VERIFY)
    wait_until(lambda: victim.leased._office.waiting, 5, "it waits for the lease")
    victim.card.logout()
    victim.has_an_error()
    let_go(holder)
    assert victim.peer.exchange(PROTECTED) == DENIED
    assert house.card.pins == [VERIFY], "the holder's"
    assert victim.watched.bridge.status.state is BridgeState.INSERTED, "its card stays in"


def test_pin_that_a_person_allows_when_its_machine_was_reset_is_not_tried(house: House) -> None:
    victim = house.machine("victim", ASKED)
    victim.peer.send_apdu(VERIFY)
    assert house.person.asked.wait(5)
    victim.card.logout()
    house.person.answers.set()
    victim.has_an_error()
    assert victim.peer.exchange(PROTECTED) == DENIED
    assert house.card.pins == []
