"""A host reader that is unplugged while pcscd serves, and plugged in again: a bridge's card goes and comes with it.

vpcd cannot unplug a reader; a pcscd that comes back with readers of another name shows the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from helpers.bridges import Watched
from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.qemu_peer import NotTransacted, QemuPeer
from helpers.scripted_card import FCI, SELECT, WAIT, ScriptedCard
from helpers.waiting import wait_until
from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.timers import Timers
from virtcard.card.lease.rules import LeaseRules
from virtcard.card.reader_source import ReaderSource
from virtcard.card.selection import Selection
from virtcard.errors import NoSuchReader

SELECTED = bytes([0x61, len(FCI)])
PATIENT = {Timer.TRANSMIT: 20.0}


@pytest.fixture
def peer() -> Iterator[QemuPeer]:
    with TemporaryDirectory(prefix="vc-") as directory, closing(QemuPeer(Path(directory, "s"))) as peer:
        yield peer


@pytest.fixture
def source(lab: Lab) -> ReaderSource:
    return ReaderSource(lab.watcher, lab.contexts)


@pytest.fixture
def inserted(lab: Lab, peer: QemuPeer, source: ReaderSource) -> Iterator[Watched]:
    """The card of the first reader, in a machine."""
    timers = Timers()
    watched = Watched(Endpoint.unix(str(peer._where)), timers, Random(1), patience=PATIENT)
    watched.bridge.start()
    lab.plug(ScriptedCard())
    watched.bridge.insert(opened(source, READERS[0]))
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(SELECT) == SELECTED
    watched.forget()
    yield watched
    watched.bridge.stop()
    assert watched.bridge.join(10)
    timers.close()


def opened(source: ReaderSource, name: str) -> Selection:
    leased = source.open(name)
    leased.agree(LeaseRules())
    return Selection(leased)


def replug(lab: Lab, name: str) -> None:
    """From now on there are readers of this name, and no others."""
    lab.pcscd.name = name
    lab.pcscd.restart()
    wait_until(lambda: [reader.name for reader in lab.watcher.readers] == [f"{name} 00 00", f"{name} 00 01"], 10, name)


def test_card_leaves_with_its_reader_and_comes_back_with_it(lab: Lab, peer: QemuPeer, inserted: Watched) -> None:
    replug(lab, "Other PCD")
    peer.wait_empty()
    inserted.wait(BridgeState.EMPTY)
    inserted.forget()
    replug(lab, "Virtual PCD")
    inserted.wait(BridgeState.INSERTED, timeout=20)
    assert peer.exchange(SELECT) == SELECTED


def test_card_in_another_reader_can_be_had_meanwhile(
    lab: Lab, peer: QemuPeer, source: ReaderSource, inserted: Watched
) -> None:
    replug(lab, "Other PCD")
    inserted.wait(BridgeState.EMPTY)
    with pytest.raises(NoSuchReader):
        source.open(READERS[0])
    wait_until(lambda: any(reader.atr for reader in lab.watcher.readers), 10, "the card is in the other reader")
    inserted.bridge.insert(opened(source, "Other PCD 00 00"))
    inserted.wait(BridgeState.INSERTED)
    assert peer.exchange(SELECT) == SELECTED


def test_reader_that_is_unplugged_in_the_middle_of_a_command_fails_it(
    lab: Lab, peer: QemuPeer, inserted: Watched
) -> None:
    card = ScriptedCard()
    lab.plug(card)
    inserted.wait(BridgeState.INSERTED, timeout=20)
    card.gate.clear()
    peer.send_apdu(WAIT)
    assert card.waiting.wait(5)
    assert lab.pcscd.process is not None
    lab.pcscd.process.kill()
    with pytest.raises(NotTransacted):
        peer.answer(5)
    card.gate.set()
    inserted.forget()
    replug(lab, "Virtual PCD")
    inserted.wait(BridgeState.INSERTED, timeout=20)
    assert peer.exchange(SELECT) == SELECTED
