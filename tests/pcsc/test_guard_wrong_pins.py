"""Ten thousand wrong PINs from three machines at once, while a program of the host enters some, too: on real software
cards in a real pcscd, by real bridges with all that the service puts before a card. What is left is the card's word.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Empty

import pytest

from helpers.dressed import dressed
from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.piv import new_card
from helpers.qemu_peer import NotTransacted, QemuPeer
from helpers.soft_cards import PIN_DIGITS, empty_card
from helpers.vpcd import CardInSlot
from helpers.wrong_pins import guesses
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.base import Card
from virtcard.card.lease.rules import LeaseTimes
from virtcard.card.reader import Context, Disposition, Handle, PcscError, Result
from virtcard.card.reader_source import ReaderSource
from virtcard.card.soft.iso7816 import SoftCard
from virtcard.card.soft.model import CardType
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.service.wardrobe import Wardrobe

MACHINES = ("one", "two", "three")
GUESSES, SOAK_GUESSES = 10_000, 200_000
SEED = time.time_ns() % 1_000_000
TIMES = LeaseTimes(idle=0.02, idle_logged_in=0.05, last_call=0.1, longest=0.2, pause=0.01, patience=10.0)
"""Leases that end all the time, in the middle of everything."""
LOST = 15.0
"""Seconds, more than anybody waits for a lease. A guest that never pauses may send as QEMU takes the card out."""
RULES = '[[rule]]\naction = "allow"\ncommands = "{}"\npin-reserve = {}\n'
OK, STOPPED = b"\x90\x00", b"\x69\x83"


@dataclass
class Counted:
    """A card in a slot, and the least that it had left of PIN and PUK after any command."""

    card: CardInSlot
    tries: Callable[[], tuple[int, int]]
    least: tuple[int, int] = (99, 99)
    pins: int = 0
    """Commands that carried a PIN, and came to the card."""

    @property
    def atr(self) -> bytes:
        return self.card.atr

    def transmit(self, command: bytes) -> bytes:
        answer = self.card.transmit(command)
        pin, puk = self.tries()
        self.least = min(self.least[0], pin), min(self.least[1], puk)
        self.pins += command[1] in (0x20, 0x24, 0x2C) and len(command) > 5
        return answer

    def reset(self) -> None:
        self.card.reset()


@dataclass
class Host:
    """A program of the host that enters wrong PINs down to the reserve, and then the right one."""

    select: bytes
    verify: bytes
    reserve: int
    wrong: int = 0
    right: int = 0
    _context: Context = field(default_factory=Context)

    def run(self, over: threading.Event) -> None:
        """Until it is over."""
        handle = self._context.connect(READERS[0])
        try:
            while not over.wait(0.01):
                self._turn(handle)
        finally:
            handle.disconnect(Disposition.RESET)
            self._context.release()

    def _turn(self, handle: Handle) -> None:
        _begin(handle)
        handle.transmit(self.select)
        left = handle.transmit(self.verify)
        if left[0] == 0x63 and left[1] & 0x0F > self.reserve:
            handle.transmit(self.verify + b"\x08999999\xff\xff")
            self.wrong += 1
        else:
            assert handle.transmit(self.verify + b"\x08" + PIN_DIGITS + b"\xff\xff") == OK
            self.right += 1
        handle.end(Disposition.RESET)


def _begin(handle: Handle) -> None:
    while True:
        try:
            return handle.begin()
        except PcscError as failure:
            if failure.code != Result.RESET_CARD:
                raise
            handle.reconnect(Disposition.LEAVE)


@contextmanager
def machine(path: Path, card: Card) -> Iterator[QemuPeer]:
    """A machine that has the card in."""
    peer = QemuPeer(path)
    bridge = Bridge(Endpoint.unix(str(path)), lambda status: None)
    bridge.start()
    bridge.insert(card)
    try:
        peer.wait_card()
        yield peer
    finally:
        bridge.stop()
        assert bridge.join(10)
        peer.close()


def guess(peer: QemuPeer, select: bytes, seed: int, count: int, answers: set[bytes]) -> None:
    """So many guesses of one machine, beginning with the application that is to be guessed at."""
    for commands in [[select], *islice(guesses(seed), count)]:
        for command in commands:
            answers.add(_asked(peer, command))


def _asked(peer: QemuPeer, command: bytes) -> bytes:
    """The status word; nothing when the command failed, or was lost with a card that went out for one that goes in."""
    peer.wait_card(30)
    try:
        return peer.exchange(command, LOST)[-2:]
    except (NotTransacted, Empty):
        return b""


def besiege(lab: Lab, directory: Path, card: Counted, host: Host, *, rules: str, count: int) -> set[bytes]:
    """All machines and the host at once; the last bytes of all answers."""
    print(f"seed {SEED}")
    lab.plug(card)
    source, wardrobe = ReaderSource(lab.watcher, lab.contexts, TIMES), Wardrobe(lambda _fitting, _operation: False)
    answers: set[bytes] = set()
    over = threading.Event()
    with ExitStack() as stack:
        peers = []
        for name in MACHINES:
            in_reader = dressed(source.open(READERS[0]), rules, wardrobe=wardrobe, reader=READERS[0]).card
            peers.append(stack.enter_context(machine(directory / f"{name}.sock", in_reader)))
        each = count // len(MACHINES) + 1
        with ThreadPoolExecutor(len(MACHINES) + 1) as pool:
            watching = pool.submit(host.run, over)
            guessing = [
                pool.submit(guess, peer, host.select, SEED + number, each, answers) for number, peer in enumerate(peers)
            ]
            try:
                for one in guessing:
                    one.result(600)
            finally:
                over.set()
            watching.result(10)
    print(
        f"least left {card.least}; {card.pins} PINs came to the card; the host {host.wrong} wrong, {host.right} right"
    )
    return answers


PIV_SELECT, PIV_VERIFY = bytes.fromhex("00A4040005A000000308"), bytes.fromhex("00200080")
CAC_SELECT, CAC_VERIFY = bytes.fromhex("00A4040007A0000000790300"), bytes.fromhex("00200000")


@pytest.mark.parametrize(
    ("profile", "reserve", "count"),
    [
        ("use", 1, GUESSES),
        ("full", 1, GUESSES),
        ("full", 2, GUESSES),
        pytest.param("full", 1, SOAK_GUESSES, marks=pytest.mark.soak(minutes=1.5)),
    ],
)
def test_a_piv_card_keeps_its_reserve(lab: Lab, tmp_path: Path, profile: str, reserve: int, count: int) -> None:
    piv = new_card(tmp_path / "cards")
    card = Counted(CardInSlot(piv.card), lambda: (piv.pins.pin_tries_left, piv.pins.puk_tries_left))
    host = Host(PIV_SELECT, PIV_VERIFY, reserve)
    answers = besiege(lab, tmp_path, card, host, rules=RULES.format(profile, reserve), count=count)
    assert card.least == (reserve, 3 if profile == "use" else reserve)
    assert STOPPED in answers
    assert min(host.wrong, host.right) > 0
    assert piv.select().verify() == 0x9000


def test_a_cac_card_keeps_its_reserve(lab: Lab, tmp_path: Path) -> None:
    store = Store(tmp_path / "cards")
    empty_card(store, "cac", CardType.CAC)
    stored = SoftSource(store).open("cac")
    card = Counted(CardInSlot(stored), lambda: (_tries(store), 99))
    host = Host(CAC_SELECT, CAC_VERIFY, 1)
    answers = besiege(lab, tmp_path, card, host, rules=RULES.format("full", 1), count=GUESSES)
    assert card.least[0] == 1
    assert STOPPED in answers
    assert min(host.wrong, host.right) > 0
    stored.power_off()


def _tries(store: Store) -> int:
    return store.read("cac").pin.tries_left


def test_without_a_guard_the_card_is_blocked(lab: Lab, tmp_path: Path) -> None:
    """So the check can fail: the same guesses, and no reserve."""
    piv = new_card(tmp_path / "cards")
    assert isinstance(piv.card, SoftCard)
    card = Counted(CardInSlot(piv.card), lambda: (piv.pins.pin_tries_left, piv.pins.puk_tries_left))
    lab.plug(card)
    source = ReaderSource(lab.watcher, lab.contexts, TIMES)
    in_reader = dressed(source.open(READERS[0]), RULES.format("full", 0), reader=READERS[0]).card
    with machine(tmp_path / "vm.sock", in_reader) as peer:
        guess(peer, PIV_SELECT, SEED, 300, set())
    assert card.least[0] == 0
