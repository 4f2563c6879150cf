"""Peers that come and go, break the protocol, or do not play along."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.bridges import Watched
from helpers.fake_card import FakeCard
from helpers.hostile import Hostile, flood_of_acknowledgements
from helpers.qemu_peer import HEADER, INIT, INIT_PAYLOAD, UNDEFINED, Fault, NotTransacted, QemuPeer
from helpers.waiting import wait_until
from virtcard import limits
from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.runner import BridgeState

MakePeer = Callable[..., QemuPeer]
MakeBridge = Callable[..., Watched]

COMMAND = bytes.fromhex("00a4040000")


def test_card_is_in_again_after_the_peer_came_back(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    for _ in range(3):
        watched.wait(BridgeState.INSERTED)
        assert peer.exchange(COMMAND)
        watched.forget()
        peer.hang_up()
        watched.wait(BridgeState.CONNECTING)
    watched.wait(BridgeState.INSERTED)
    assert card.calls == ["power_on", *["power_off", "power_on"] * 3]


def test_card_is_powered_off_while_there_is_no_peer(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    """So that no PIN stays verified after the virtual machine stopped."""
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    peer.close()
    watched.wait(BridgeState.CONNECTING)
    wait_until(lambda: not card.on, 5, "the power to go off")


def test_stale_socket_is_retried_and_left_alone(
    make_bridge: MakeBridge, make_peer: MakePeer, socket_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    watched = make_bridge()
    watched.wait(BridgeState.CONNECTING, error="Nobody listens")
    assert socket_path.exists()
    socket_path.unlink()
    make_peer()
    watched.wait(BridgeState.EMPTY)


def test_peer_that_dies_in_the_middle_of_a_command(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    card.gate.clear()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    peer.send_apdu(COMMAND)
    assert card.waiting.wait(5)
    watched.forget()
    peer.hang_up()
    card.gate.set()
    watched.wait(BridgeState.INSERTED)
    assert peer.connections == 2
    assert peer.unasked == 0


@pytest.mark.parametrize("size", [1, 7, 11, 12, 14])
def test_peer_that_dies_in_the_middle_of_a_message(make_peer: MakePeer, make_bridge: MakeBridge, size: int) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    watched.forget()
    peer.send_raw((HEADER.pack(7, 0, len(COMMAND)) + COMMAND)[:size])
    peer.hang_up()
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND) == b"\x90\x00"


def test_without_reconnect_the_end_of_the_peer_is_the_end(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(reconnect=False), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    peer.hang_up()
    assert watched.bridge.join(5)
    watched.wait(BridgeState.CLOSED)
    assert not card.on


def test_without_reconnect_a_missing_peer_is_the_end_with_its_reason(make_bridge: MakeBridge) -> None:
    watched = make_bridge(reconnect=False)
    assert watched.bridge.join(5)
    watched.wait(BridgeState.CLOSED, error="There is no socket")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault.NO_INIT, "busy with another client"),
        (Fault.NO_ACK, "did not acknowledge"),
        (Fault.WRONG_MAGIC, "broke the VSCard protocol"),
        (Fault.HUGE, "broke the VSCard protocol"),
    ],
)
def test_faulty_peer_is_left_with_a_sentence_and_tried_again(
    make_peer: MakePeer, make_bridge: MakeBridge, fault: Fault, sentence: str
) -> None:
    peer, watched = make_peer(fault=fault), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.FAILED, error=sentence)
    peer.fault = None
    watched.wait(BridgeState.INSERTED)
    assert not watched.statuses[-1].last_error


def test_peer_that_is_cut_off_in_the_greeting_is_tried_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(fault=Fault.CUT), make_bridge()
    peer.wait_for(lambda: peer.connections >= 3, "some attempts")
    peer.fault = None
    watched.wait(BridgeState.EMPTY)


def test_two_inits_are_tolerated(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    """QEMU with `wait=on` says Init by itself, and once more in answer to ours."""
    peer = make_peer()
    original = peer._greet

    def greet_twice() -> None:
        peer.send(INIT, UNDEFINED, INIT_PAYLOAD)
        original()

    peer._greet = greet_twice  # type: ignore[method-assign]
    make_bridge().wait(BridgeState.EMPTY)


def test_peer_that_sends_byte_by_byte(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    peer._pending = 1
    for byte in HEADER.pack(7, 0, len(COMMAND)) + COMMAND:
        peer.send_raw(bytes([byte]))
    assert peer.answer() == b"\x90\x00"


def test_peer_that_never_reads_is_given_up_and_does_not_block(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    """The answers fill its socket buffer, then ours; the bridge neither waits nor grows."""
    peer, watched = make_peer(fault=Fault.NO_READ), make_bridge()
    card = FakeCard(default=b"\x55" * 256 + b"\x90\x00")
    watched.bridge.insert(card)
    peer.wait_card()
    for sent in range(1, 10_000):
        try:
            peer.send(7, 0, COMMAND)
        except OSError:
            break
        _wait_for_commands(card, sent, watched)
    watched.wait_error("does not read")
    assert 256 * len(card.commands) > limits.SEND_BUFFER_MAX
    peer.fault = None
    peer.reading.set()
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)


def _wait_for_commands(card: FakeCard, count: int, watched: Watched) -> None:
    """Wait until the card has had so many, or the conversation is over."""
    states = (BridgeState.INSERTING, BridgeState.INSERTED)
    wait_until(
        lambda: len(card.commands) >= count or watched.bridge.status.state not in states, 5, "a command", interval=0
    )


def test_peer_that_reads_again_gets_every_answer(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    card = FakeCard(default=lambda command: command[2:4] + b"\x55" * 253 + b"\x90\x00")
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    peer.send_apdu(b"\x80\x10\xff\xff")
    assert peer.answer()
    peer.reading.clear()
    peer._pending = 1000  # it may take one more answer before it stops to read
    for number in range(1000):
        peer.send(7, 0, b"\x80\x10" + number.to_bytes(2, "big"))
        _wait_for_commands(card, number + 2, watched)
    peer.reading.set()
    assert [int.from_bytes(peer.answer()[:2], "big") for _ in range(1000)] == list(range(1000))


def test_stop_is_bounded_when_the_peer_does_not_read(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(fault=Fault.NO_READ), make_bridge(patience={Timer.ACK: 0.3}), FakeCard()
    watched.bridge.insert(card)
    peer.wait_card()
    begin = time.monotonic()
    watched.bridge.stop()
    assert watched.bridge.join(10)
    assert time.monotonic() - begin < 5
    assert not card.on


def test_flood_of_commands_ends_the_conversation_and_not_the_bridge(
    make_peer: MakePeer, make_bridge: MakeBridge
) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    peer.send_raw((HEADER.pack(7, 0, 4) + b"\x80\x10\x00\x00") * 1000)
    watched.wait_error("without waiting")
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)
    assert len(card.commands) < 200


def test_peer_that_breaks_the_protocol_after_each_greeting_is_called_ever_less_often(
    make_bridge: MakeBridge, socket_path: Path
) -> None:
    peer = Hostile(socket_path, flood_of_acknowledgements)
    peer.on.set()
    watched = make_bridge()
    watched.bridge.insert(FakeCard())
    try:
        wait_until(lambda: len(peer.times) >= 6, 30, "it is called again and again")
    finally:
        peer.close()
    assert peer.times[5] - peer.times[3] > peer.times[2] - peer.times[0]


def test_few_commands_at_once_are_answered_in_order(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard(default=lambda command: command[2:4] + b"\x90\x00"))
    watched.wait(BridgeState.INSERTED)
    for number in range(8):
        peer.send_apdu(bytes([0x80, 0x10, 0, number]))
    assert [peer.answer()[1] for _ in range(8)] == list(range(8))
    assert not peer.fatal


def test_ten_thousand_answers_never_reach_the_queue_that_kills_qemu(
    make_peer: MakePeer, make_bridge: MakeBridge
) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait(BridgeState.INSERTED)
    for _ in range(10_000):
        peer.exchange(COMMAND)
    assert not peer.fatal
    assert peer.dropped == peer.unasked == 0


def test_answers_that_qemu_would_drop_never_reach_it(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard(default=b"\x55" * 1000 + b"\x90\x00"))
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)[-2] == 0x61
    assert peer.dropped == 0


def test_command_before_the_card_is_in_fails(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    watched.wait(BridgeState.EMPTY)
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rubbish=st.binary(min_size=1, max_size=200))
def test_rubbish_ends_a_conversation_and_never_the_bridge(
    make_peer: MakePeer, make_bridge: MakeBridge, rubbish: bytes, rubbish_bridge: tuple[QemuPeer, Watched]
) -> None:
    peer, watched = rubbish_bridge
    watched.wait(BridgeState.INSERTED)
    before = peer.connections
    peer.send_raw(rubbish)
    peer.hang_up()
    peer.wait_for(lambda: peer.connections > before, "another connection")
    watched.wait(BridgeState.INSERTED)


@pytest.fixture
def rubbish_bridge(make_peer: MakePeer, make_bridge: MakeBridge) -> tuple[QemuPeer, Watched]:
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(FakeCard())
    return peer, watched


# Listening for QEMU.


def test_bridge_listens_on_a_unix_socket(make_peer: MakePeer, make_bridge: MakeBridge, socket_path: Path) -> None:
    watched = make_bridge(Endpoint(Scheme.UNIX, path=str(socket_path), listen=True))
    watched.bridge.insert(FakeCard())
    wait_until(socket_path.exists, 5, "the socket")
    peer = make_peer(listen=False)
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)
    assert not socket_path.exists()
    watched.forget()
    peer.hang_up()
    watched.wait(BridgeState.INSERTED)
    assert peer.connections == 2


def test_listening_bridge_that_stops_removes_its_socket(make_bridge: MakeBridge, socket_path: Path) -> None:
    watched = make_bridge(Endpoint(Scheme.UNIX, path=str(socket_path), listen=True))
    wait_until(socket_path.exists, 5, "the socket")
    watched.bridge.stop()
    assert watched.bridge.join(5)
    assert not socket_path.exists()


def test_bridge_listens_on_tcp(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    port = _free_port()
    watched = make_bridge(Endpoint(Scheme.TCP, host="127.0.0.1", port=port, listen=True))
    watched.bridge.insert(FakeCard())
    peer = make_peer(("127.0.0.1", port), listen=False)
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
