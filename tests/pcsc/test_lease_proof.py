"""Two machines and a program of the host at one card, by random commands and PINs: is every answer for its asker?

The machines are stand-ins for QEMU with real bridges behind them; pcscd is real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.qemu_peer import NotTransacted, QemuPeer
from helpers.witness import Program, Refused, User, WitnessCard
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.base import Card
from virtcard.card.lease.rules import LeaseTimes
from virtcard.card.reader import Context
from virtcard.card.reader_source import ReaderSource
from virtcard.card.selection import Selection

SECONDS = 8.0
SOAK_SECONDS = 300.0
SEED = time.time_ns() % 1_000_000
TIMES = LeaseTimes(idle=0.05, idle_logged_in=0.15, last_call=0.4, longest=0.6, patience=5.0)
"""Short leases, so that the card changes hands often, and the real pause, which the host's program needs."""

Wiring = Callable[[Lab], Callable[[], Card]]
"""What a machine's card is, once for each machine."""


def leased(lab: Lab) -> Callable[[], Card]:
    source = ReaderSource(lab.watcher, lab.contexts, TIMES)
    return lambda: Selection(source.open(READERS[0]))


def without_leases(lab: Lab) -> Callable[[], Card]:
    return lambda: Selection(lab.card())


@contextmanager
def machine(directory: Path, name: str, card: Card, *, knows_pin: bool) -> Iterator[User]:
    """A user in a machine that has the card in."""
    path = directory / f"{name}.sock"
    peer = QemuPeer(path)
    bridge = Bridge(Endpoint.unix(str(path)), lambda status: None)
    bridge.start()
    bridge.insert(card)
    try:
        peer.wait_card()
        yield User(name, lambda command: _exchange(peer, command), SEED, knows_pin)
    finally:
        bridge.stop()
        assert bridge.join(10)
        peer.close()


def _exchange(peer: QemuPeer, command: bytes) -> bytes:
    try:
        return peer.exchange(command, 30)
    except NotTransacted:
        raise Refused from None


def share(lab: Lab, directory: Path, wiring: Wiring, seconds: float = SECONDS) -> list[User]:
    """Everybody at work at the same time; what they have seen."""
    print(f"seed {SEED}")
    lab.plug(WitnessCard("one", "host"))
    card = wiring(lab)
    context = Context()
    over = threading.Event()
    with ExitStack() as stack:
        stack.callback(context.release)
        one = stack.enter_context(machine(directory, "one", card(), knows_pin=True))
        two = stack.enter_context(machine(directory, "two", card(), knows_pin=False))
        program = Program(context.connect(READERS[0]), SEED)
        threads = [threading.Thread(target=user.run, args=(over.is_set,)) for user in (one, two)]
        threads.append(threading.Thread(target=program.run, args=(over, 0.05)))
        for thread in threads:
            thread.start()
        over.wait(seconds)
        over.set()
        for thread in threads:
            thread.join(40)
            assert not thread.is_alive()
    users = [one, two, program.user]
    print(*users, f"the host waited {max(program.waits):.2f} s at most", sep="\n")
    return users


def check(users: list[User]) -> None:
    """Nobody was told what was another's, and who has no PIN got nothing that needs one."""
    one, two, host = users
    assert not [mistake for user in users for mistake in user.mistakes]
    assert min(user.answers for user in users) > 20
    assert min(one.proven, host.proven) > 0
    assert two.proven == 0 < two.denied


def test_every_answer_is_right_for_its_asker_and_no_login_serves_another(lab: Lab, tmp_path: Path) -> None:
    check(share(lab, tmp_path, leased))


@pytest.mark.soak(minutes=6)
def test_every_answer_is_right_for_five_minutes(lab: Lab, tmp_path: Path) -> None:
    check(share(lab, tmp_path, leased, SOAK_SECONDS))


def test_the_same_without_leases_goes_wrong(lab: Lab, tmp_path: Path) -> None:
    """So the check above can fail: without leases the machines meet each other's chains, selections and logins."""
    _, two, _ = users = share(lab, tmp_path, without_leases)
    assert [mistake for user in users for mistake in user.mistakes]
    assert two.proven > 0
