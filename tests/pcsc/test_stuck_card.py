"""A bridge whose thread hangs in a real pcscd: it is given up and replaced, and the guest hears of it in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from helpers.bridges import SHORT, Watched
from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.qemu_peer import NotTransacted, QemuPeer
from helpers.scripted_card import ATR_T0, FCI, SELECT, WAIT, ScriptedCard
from helpers.shared_card import QUICK
from helpers.waiting import wait_until
from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.timers import Timers
from virtcard.card.lease.rules import LeaseRules
from virtcard.card.reader_source import ReaderSource
from virtcard.card.selection import Selection

PROMPT = SHORT[Timer.TRANSMIT] + 1.0
"""Seconds in which the guest has its error, on a busy machine."""
SELECTED = bytes([0x61, len(FCI)])


@pytest.fixture
def peer() -> Iterator[QemuPeer]:
    with TemporaryDirectory(prefix="vc-") as directory, closing(QemuPeer(Path(directory, "s"))) as peer:
        yield peer


@pytest.fixture
def watched(peer: QemuPeer) -> Iterator[Watched]:
    timers = Timers()
    watched = Watched(Endpoint.unix(str(peer._where)), timers, Random(1))
    watched.bridge.start()
    yield watched
    watched.bridge.stop()
    assert watched.bridge.join(10)
    timers.close()


@pytest.fixture
def stuck(lab: Lab) -> Iterator[ScriptedCard]:
    """The card in the first reader, which never answers WAIT until the test is over; another is in the second."""
    card = ScriptedCard()
    lab.plug(card)
    lab.plug(ScriptedCard(ATR_T0[:2] + b"the next"), 1)
    card.gate.clear()
    yield card
    card.gate.set()


def put_in(watched: Watched, lab: Lab, slot: int = 0) -> None:
    leased = ReaderSource(lab.watcher, lab.contexts, QUICK).open(READERS[slot])
    leased.agree(LeaseRules())
    watched.forget()
    watched.bridge.insert(Selection(leased))
    watched.wait(BridgeState.INSERTED)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "virtcard-bridge"]


def hang(peer: QemuPeer, stuck: ScriptedCard) -> float:
    """The guest's command hangs in pcscd; seconds until the guest has its error."""
    began = time.monotonic()
    peer.send_apdu(WAIT)
    assert stuck.waiting.wait(5), "it is at the card"
    with pytest.raises(NotTransacted):
        peer.answer(PROMPT)
    return time.monotonic() - began


def test_guest_has_its_error_in_time_and_another_thread_goes_on(
    lab: Lab, peer: QemuPeer, watched: Watched, stuck: ScriptedCard
) -> None:
    put_in(watched, lab)
    assert peer.exchange(SELECT) == SELECTED
    (before,) = workers()
    assert hang(peer, stuck) < PROMPT
    watched.wait(BridgeState.EMPTY, error="does not answer")
    assert stuck.waiting.is_set(), "pcscd and the first thread still wait for the card"
    assert before in workers()
    assert len(workers()) == 2
    with pytest.raises(NotTransacted):
        peer.exchange(SELECT, timeout=PROMPT)


def test_card_of_another_reader_takes_its_place_meanwhile(
    lab: Lab, peer: QemuPeer, watched: Watched, stuck: ScriptedCard
) -> None:
    put_in(watched, lab)
    hang(peer, stuck)
    watched.wait(BridgeState.EMPTY)
    put_in(watched, lab, 1)
    assert peer.atr is not None
    assert peer.atr.endswith(b"the next")
    assert peer.exchange(SELECT) == SELECTED
    assert stuck.waiting.is_set()


def test_card_that_answers_at_last_is_put_in_anew_and_its_late_answer_is_nobodys(
    lab: Lab, peer: QemuPeer, watched: Watched, stuck: ScriptedCard
) -> None:
    put_in(watched, lab)
    hang(peer, stuck)
    watched.wait(BridgeState.EMPTY)
    watched.forget()
    stuck.gate.set()
    watched.wait(BridgeState.INSERTED)
    wait_until(lambda: len(workers()) == 1, 5, "the first thread has ended")
    assert peer.exchange(SELECT) == SELECTED
    assert peer.answers.empty()
    assert peer.unasked == 0


def test_bridge_ends_in_order_while_its_first_thread_hangs(
    lab: Lab, peer: QemuPeer, watched: Watched, stuck: ScriptedCard
) -> None:
    put_in(watched, lab)
    peer.send_apdu(WAIT)
    assert stuck.waiting.wait(5)
    began = time.monotonic()
    watched.bridge.stop()
    assert watched.bridge.join(10)
    assert time.monotonic() - began < 5
    peer.wait_empty()


def test_pcscd_that_dies_under_a_hanging_command_frees_its_thread(
    lab: Lab, peer: QemuPeer, watched: Watched, stuck: ScriptedCard
) -> None:
    put_in(watched, lab)
    hang(peer, stuck)
    assert lab.pcscd.process is not None
    lab.pcscd.process.kill()
    wait_until(lambda: len(workers()) == 1, 5, "the first thread has ended")
    stuck.gate.set()
    watched.forget()
    lab.pcscd.restart()
    watched.wait(BridgeState.INSERTED, timeout=20)
    assert peer.exchange(SELECT) == SELECTED
