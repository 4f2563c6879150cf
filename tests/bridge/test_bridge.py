"""A bridge between the stand-in for QEMU and a scripted card: the ordinary days."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.bridges import Watched
from helpers.fake_card import ATR, FakeCard
from helpers.qemu_peer import APDU, CARD_REMOVE, ERROR, INIT, READER_ADD, READER_REMOVE, QemuPeer
from helpers.qemu_peer import ATR as ATR_MESSAGE
from helpers.waiting import wait_until
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.poller import Wakeup
from virtcard.bridge.runner import Bridge, BridgeState, BridgeStatus
from virtcard.bridge.session import Session
from virtcard.bridge.timers import Timers
from virtcard.bridge.worker import Worker
from virtcard.errors import Failed, LocalError, PeerError

MakePeer = Callable[..., QemuPeer]
MakeBridge = Callable[..., Watched]

COMMAND = bytes.fromhex("00a4040000")
ANSWER = bytes.fromhex("6f009000")


def test_card_is_inserted_and_answers(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard({COMMAND: ANSWER}))
    peer.wait_card()
    assert peer.exchange(COMMAND) == ANSWER
    watched.wait(BridgeState.INSERTED)
    assert watched.states() == [
        BridgeState.GREETING,
        BridgeState.EMPTY,
        BridgeState.INSERTING,
        BridgeState.INSERTED,
    ]


def test_greeting_answers_for_a_dead_client_and_goes_on_as_vscclient(
    make_peer: MakePeer, make_bridge: MakeBridge
) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.wait(BridgeState.EMPTY)
    assert peer.types() == [INIT, ERROR, READER_REMOVE, READER_ADD]


def test_card_is_powered_on_only_when_the_peer_is_ready(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    watched, card = make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.CONNECTING, error="There is no socket")
    assert not card.on
    make_peer()
    watched.wait(BridgeState.INSERTED)
    assert card.on


def test_guest_sees_the_historical_bytes_of_the_card(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    peer.wait_card()
    assert peer.atr is not None
    assert peer.atr.endswith(ATR[2:])


def test_hundred_commands_get_a_hundred_answers_in_order(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard(default=lambda command: command[2:4] + b"\x90\x00"))
    peer.wait_card()
    for number in range(100):
        assert peer.exchange(b"\x80\x10" + number.to_bytes(2, "big")) == number.to_bytes(2, "big") + b"\x90\x00"
    wait_until(lambda: watched.bridge.apdus == 100, 5, "the count of APDUs")
    assert watched.bridge.status.apdus == 100
    assert peer.unasked == 0


def test_apdus_alone_are_no_news(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    told = len(watched.statuses)
    for _ in range(10):
        peer.exchange(COMMAND)
    assert len(watched.statuses) == told


def test_eject_takes_the_card_out_and_powers_it_off(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    watched.bridge.eject()
    watched.wait(BridgeState.EMPTY)
    peer.wait_empty()
    wait_until(lambda: not card.on, 5, "the card to be powered off")
    wait_until(lambda: card.listener is None, 5, "the listener to go")
    assert peer.types()[-1] == CARD_REMOVE


def test_eject_without_a_card_does_nothing(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.wait(BridgeState.EMPTY)
    watched.bridge.eject()
    watched.bridge.eject()
    assert watched.bridge.status.state is BridgeState.EMPTY
    assert CARD_REMOVE not in peer.types()


def test_ejected_card_can_be_inserted_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    for _ in range(2):
        watched.bridge.insert(card)
        watched.wait(BridgeState.INSERTED)
        assert peer.exchange(COMMAND)
        watched.bridge.eject()
        watched.wait(BridgeState.EMPTY)
    assert card.most_inside == 1


def test_inserting_the_card_that_is_in_changes_nothing(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    watched.bridge.insert(card)
    assert peer.exchange(COMMAND)
    assert card.calls == ["power_on"]
    assert CARD_REMOVE not in peer.types()


def test_insert_during_the_ejection_of_the_same_card_brings_it_back(
    make_peer: MakePeer, make_bridge: MakeBridge
) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    watched.bridge.eject()
    watched.bridge.insert(card)
    watched.wait(BridgeState.EJECTING)
    watched.wait(BridgeState.INSERTED)
    assert card.calls == ["power_on", "power_off", "power_on"]
    assert peer.exchange(COMMAND)


def test_another_card_takes_the_place_of_the_first(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    first, second = FakeCard(), FakeCard({COMMAND: ANSWER})
    watched.bridge.insert(first)
    watched.wait(BridgeState.INSERTED)
    watched.bridge.insert(second)
    peer.wait_for(lambda: second.on and peer.atr is not None, "the second card")
    assert peer.exchange(COMMAND) == ANSWER
    assert not first.on
    assert first.listener is None
    kinds = [kind for kind in peer.types() if kind in (ATR_MESSAGE, CARD_REMOVE)]
    assert kinds == [ATR_MESSAGE, CARD_REMOVE, ATR_MESSAGE]


def test_cards_that_are_replaced_before_they_get_in_are_let_go(make_bridge: MakeBridge, make_peer: MakePeer) -> None:
    watched, cards = make_bridge(), [FakeCard() for _ in range(5)]
    for card in cards:
        watched.bridge.insert(card)
    make_peer()
    watched.wait(BridgeState.INSERTED)
    assert [card.on for card in cards] == [False] * 4 + [True]
    assert [card.listener is None for card in cards] == [True] * 4 + [False]


def test_stop_takes_leave_in_order(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    watched.bridge.stop()
    assert watched.bridge.join(5)
    assert peer.types()[-3:] == [ATR_MESSAGE, CARD_REMOVE, READER_REMOVE]
    assert watched.statuses[-1].state is BridgeState.CLOSED
    assert not watched.statuses[-1].last_error
    assert not card.on
    assert card.listener is None
    peer.wait_for(lambda: not peer.connected.is_set(), "the end of the connection")


def test_stop_ends_a_bridge_without_a_peer_at_once(make_bridge: MakeBridge) -> None:
    watched, card = make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.CONNECTING, error="There is no socket")
    begin = time.monotonic()
    watched.bridge.stop()
    assert watched.bridge.join(5)
    assert time.monotonic() - begin < 1


def test_stop_again_and_everything_after_it_does_nothing(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    make_peer()
    watched, card = make_bridge(), FakeCard()
    watched.wait(BridgeState.EMPTY)
    for _ in range(2):
        watched.bridge.stop()
    assert watched.bridge.join(5)
    watched.bridge.insert(card)
    watched.bridge.eject()
    watched.bridge.stop()
    assert not card.on
    with pytest.raises(LocalError):
        watched.bridge.start()


@pytest.mark.parametrize(
    ("what", "error", "why"),
    [
        (Wakeup, OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
        (threading.Thread, RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_bridge_that_cannot_begin_says_so_and_has_ended(
    monkeypatch: pytest.MonkeyPatch, what: type, error: Exception, why: str
) -> None:
    def fails(_self: object) -> None:
        raise error

    bridge = Bridge(Endpoint(Scheme.UNIX, path="/nowhere"), lambda _status: None)
    with monkeypatch.context() as patched:
        patched.setattr(what, "__init__" if what is Wakeup else "start", fails)
        with pytest.raises(Failed, match=f"A bridge cannot begin: {why}."):
            bridge.start()
    assert bridge.status.state is BridgeState.CLOSED
    bridge.stop()
    assert bridge.join(0)


def test_bridge_that_never_started_can_be_stopped() -> None:
    told: list[BridgeStatus] = []
    bridge = Bridge(Endpoint(Scheme.UNIX, path="/nowhere"), told.append)
    bridge.insert(FakeCard())
    bridge.stop()
    assert bridge.join(0)
    assert told == [BridgeStatus(BridgeState.CLOSED)]


def test_join_gives_up_when_the_bridge_goes_on(make_bridge: MakeBridge) -> None:
    assert not make_bridge().bridge.join(0.05)


def test_failing_observer_disturbs_nobody(make_peer: MakePeer, socket_path: Path, timers: Timers) -> None:
    peer = make_peer()

    def fail(_status: BridgeStatus) -> None:
        raise ValueError

    bridge = Bridge(Endpoint(Scheme.UNIX, path=str(socket_path)), fail, timers=timers)
    bridge.start()
    bridge.insert(FakeCard())
    peer.wait_card()
    assert peer.exchange(COMMAND) == b"\x90\x00"
    bridge.stop()
    assert bridge.join(5)


def test_observer_may_call_the_bridge(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, card = make_peer(), FakeCard()
    watched = make_bridge()
    original = watched.bridge._core.bulletin._observer

    def insert_when_empty(status: BridgeStatus) -> None:
        original(status)
        if status.state is BridgeState.EMPTY:
            watched.bridge.insert(card)

    watched.bridge._core.bulletin._observer = insert_when_empty
    watched.bridge.insert(card)
    peer.wait_card()
    watched.bridge.eject()
    watched.wait(BridgeState.INSERTED)


def test_fault_of_our_own_ends_the_bridge_and_says_so(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    make_peer()
    watched = make_bridge()
    watched.wait(BridgeState.EMPTY)
    monkeypatch.setattr(Worker, "_next_chore", fail)
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.CLOSED, error="made a mistake")
    assert watched.bridge.join(5)
    assert "ZeroDivisionError" in caplog.text


def test_fault_in_a_conversation_starts_it_over(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    with monkeypatch.context() as broken:
        broken.setattr(Session, "feed", fail)
        peer.send_raw(b"\0")
        watched.wait_error("made a mistake")
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)


def test_peer_is_verified_by_its_pid(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    make_peer()
    pids: list[int] = []
    watched = make_bridge(verify=pids.append)
    watched.wait(BridgeState.EMPTY)
    assert pids == [os.getpid()]


def test_a_longer_first_gap_holds_until_a_card_was_in(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    """When the peer is lost before, the next greeting has it too."""
    peer, watched = make_peer(), make_bridge(first_gap=2.0)

    def gap() -> float:
        peer.wait_for(lambda: peer.types()[-1:] == [READER_ADD], "it is greeted")
        greeted = time.monotonic()
        peer.wait_card()
        return time.monotonic() - greeted

    watched.bridge.insert(FakeCard())
    peer.wait_for(lambda: READER_ADD in peer.types(), "it is greeted")
    peer.hang_up()
    peer.wait_for(lambda: peer.connections == 2, "it is called again")
    assert gap() > 1.5
    watched.wait(BridgeState.INSERTED)
    peer.hang_up()
    peer.wait_for(lambda: peer.connections == 3, "it is called again")
    peer.wait_empty()
    assert gap() < 1.5


def test_peer_that_is_not_the_one_hears_nothing(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer = make_peer()

    def refuse(_pid: int) -> None:
        raise PeerError("Somebody else answers there.")

    watched, card = make_bridge(verify=refuse), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.FAILED, error="Somebody else")
    peer.wait_for(lambda: peer.connections >= 2, "another attempt")
    assert peer.types() == []
    assert not card.on


def test_idle_bridges_never_wake_up(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    """No voluntary context switch of any thread of theirs, so no timeout that comes round."""
    make_peer()
    watched = make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    worker = watched.bridge._thread
    assert worker is not None
    wait_until(lambda: _switches(worker) == _switches_later(worker), 10, "a worker at rest")
    before = _switches(worker)
    threading.Event().wait(1.0)
    assert _switches(worker) == before


def _switches(thread: threading.Thread) -> int:
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("voluntary_ctxt")).split()[1])


def _switches_later(thread: threading.Thread) -> int:
    threading.Event().wait(0.3)
    return _switches(thread)


def test_whole_conversation_over_tcp(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer = make_peer(("127.0.0.1", 0))
    watched = make_bridge(Endpoint(Scheme.TCP, host="127.0.0.1", port=peer.port))
    watched.bridge.insert(FakeCard({COMMAND: ANSWER}))
    peer.wait_card()
    assert peer.exchange(COMMAND) == ANSWER
    assert peer.types().count(APDU) == 1


def test_host_name_with_a_deaf_address_is_tried_on(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    """`localhost` is ::1 first on most machines, and the peer listens on 127.0.0.1 alone."""
    peer = make_peer(("127.0.0.1", 0))
    watched = make_bridge(Endpoint(Scheme.TCP, host="localhost", port=peer.port))
    watched.wait(BridgeState.EMPTY)
