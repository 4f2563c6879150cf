"""Cards that fail, vanish, hang or are exchanged, with the stand-in for QEMU at the other end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from helpers.bridges import SHORT, Watched
from helpers.fake_card import ATR, FakeCard
from helpers.qemu_peer import APDU, CARD_REMOVE, ERROR, Fault, NotTransacted, QemuPeer
from helpers.qemu_peer import ATR as ATR_MESSAGE
from helpers.waiting import wait_until
from virtcard.bridge.effects import Timer
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.worker import Worker
from virtcard.card.base import Card, CardEvent, Transmission
from virtcard.card.errand import errand
from virtcard.card.logout import LogoutByReset
from virtcard.errors import CardAbsent, CardError, CardWasReset, ReaderGone

MakePeer = Callable[..., QemuPeer]
MakeBridge = Callable[..., Watched]

COMMAND = bytes.fromhex("00a4040000")
OTHER = bytes.fromhex("00b0000000")
ANSWER = bytes.fromhex("6f009000")


def inserted(make_peer: MakePeer, make_bridge: MakeBridge, card: Card) -> tuple[QemuPeer, Watched]:
    """A guest with this card in its reader."""
    peer, watched = make_peer(), make_bridge()
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    return peer, watched


def hanging() -> FakeCard:
    """Commands wait until a test opens its gate."""
    card = FakeCard()
    card.gate.clear()
    return card


# Power on.


def test_empty_reader_is_waited_for(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    card.power_ons = [CardAbsent("No card is in the reader.")]
    watched.bridge.insert(card)
    watched.wait(BridgeState.EMPTY, error="No card is in the reader.")
    assert card.calls == ["power_on"]
    card.report(CardEvent.INSERTED)
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)
    assert not watched.statuses[-1].last_error


def test_card_that_comes_while_power_on_fails_is_not_missed(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    make_peer()
    watched, card = make_bridge(), FakeCard()
    card.power_ons = [CardAbsent("No card is in the reader.")]
    card.during_power_on = lambda: card.report(CardEvent.INSERTED)
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)


def test_failed_power_on_is_tried_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    make_peer()
    watched, card = make_bridge(), FakeCard()
    card.power_ons = [CardError("The card is upside down.")] * 3
    watched.bridge.insert(card)
    watched.wait_error("upside down")
    watched.wait(BridgeState.INSERTED)
    assert card.calls.count("power_on") == 4


def test_unexpected_exception_of_power_on_is_tried_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    make_peer()
    watched, card = make_bridge(), FakeCard()
    card.power_ons = [ValueError("boom")]
    watched.bridge.insert(card)
    watched.wait_error("unexpected way")
    watched.wait(BridgeState.INSERTED)


def test_answer_to_reset_that_is_none_is_said_and_tried_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    card.power_ons = [b"\x00\x00"]
    watched.bridge.insert(card)
    watched.wait_error("answer to reset")
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND)


def test_power_on_that_hangs_does_not_hold_up_the_bridge(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(), make_bridge()
    stuck, other = FakeCard(), FakeCard({COMMAND: ANSWER})
    stuck.power_gate.clear()
    watched.bridge.insert(stuck)
    watched.wait(BridgeState.EMPTY, error="does not answer")
    watched.bridge.insert(other)
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND) == ANSWER
    stuck.power_gate.set()
    wait_until(lambda: not stuck.on, 5, "the stuck card to be let go")
    assert peer.exchange(COMMAND) == ANSWER


def test_power_on_that_comes_back_late_is_done_again_and_the_card_inserted(
    make_peer: MakePeer, make_bridge: MakeBridge
) -> None:
    make_peer()
    watched, card = make_bridge(), FakeCard()
    card.power_gate.clear()
    watched.bridge.insert(card)
    watched.wait(BridgeState.EMPTY, error="does not answer")
    card.power_gate.set()
    watched.wait(BridgeState.INSERTED)
    assert card.calls == ["power_on", "power_off", "power_on"]
    assert card.most_inside == 1


def test_refused_atr_is_said_and_tried_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched = make_peer(fault=Fault.REFUSE_ATR), make_bridge()
    watched.bridge.insert(FakeCard())
    watched.wait_error("did not take the card's answer to reset")
    peer.fault = None
    watched.wait(BridgeState.INSERTED)


# Commands.


@pytest.mark.parametrize("error", [CardError("It failed."), ValueError("boom"), KeyError()])
def test_failing_command_fails_in_the_guest_and_nothing_else(
    make_peer: MakePeer, make_bridge: MakeBridge, error: Exception
) -> None:
    card = FakeCard({COMMAND: error, OTHER: ANSWER})
    peer, watched = inserted(make_peer, make_bridge, card)
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND)
    assert peer.exchange(OTHER) == ANSWER
    assert watched.bridge.status.state is BridgeState.INSERTED
    assert CARD_REMOVE not in peer.types()


@pytest.mark.parametrize("answer", [b"", b"\x90"])
def test_answer_without_a_status_word_fails_in_the_guest(
    make_peer: MakePeer, make_bridge: MakeBridge, answer: bytes
) -> None:
    peer, _ = inserted(make_peer, make_bridge, FakeCard({COMMAND: answer}))
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND)
    assert peer.exchange(OTHER) == b"\x90\x00"


def test_secret_in_an_exception_stays_out_of_the_journal(
    make_peer: MakePeer, make_bridge: MakeBridge, caplog: pytest.LogCaptureFixture
) -> None:
    card = FakeCard({COMMAND: ValueError("PIN 123456")})
    with caplog.at_level(logging.DEBUG):
        peer, _ = inserted(make_peer, make_bridge, card)
        with pytest.raises(NotTransacted):
            peer.exchange(COMMAND)
    assert "123456" not in caplog.text
    assert "ValueError" in caplog.text
    assert "fake_card.py" in caplog.text


def test_card_that_was_reset_goes_out_and_in_again(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = FakeCard({COMMAND: CardWasReset("Somebody reset the card.")})
    peer, watched = inserted(make_peer, make_bridge, card)
    watched.forget()
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND)
    watched.wait(BridgeState.INSERTED)
    assert card.calls == ["power_on", "power_off", "power_on"]
    assert [kind for kind in peer.types() if kind in (ATR_MESSAGE, CARD_REMOVE)] == [
        ATR_MESSAGE,
        CARD_REMOVE,
        ATR_MESSAGE,
    ]


@pytest.mark.parametrize("error", [CardAbsent("The card is gone."), ReaderGone("The reader is gone.")])
def test_card_that_vanished_goes_out_and_waits_for_its_return(
    make_peer: MakePeer, make_bridge: MakeBridge, error: CardError
) -> None:
    card = FakeCard({COMMAND: error})
    peer, watched = inserted(make_peer, make_bridge, card)
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND)
    watched.wait(BridgeState.EMPTY, error="is gone")
    peer.wait_empty()
    wait_until(lambda: not card.on, 5, "the power to go off")
    card.answers.clear()
    card.report(CardEvent.INSERTED)
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND) == b"\x90\x00"


# Events.


def test_removed_card_goes_out_and_comes_back_with_its_return(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = FakeCard()
    peer, watched = inserted(make_peer, make_bridge, card)
    card.report(CardEvent.REMOVED)
    watched.wait(BridgeState.EMPTY)
    assert peer.atr is None
    card.report(CardEvent.INSERTED)
    watched.wait(BridgeState.INSERTED)
    assert peer.atr is not None


def test_card_that_is_exchanged_quickly_is_shown_as_another_one(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = FakeCard()
    peer, watched = inserted(make_peer, make_bridge, card)
    watched.forget()
    card.atr = bytes.fromhex("3b08") + b"another!"
    card.report(CardEvent.REMOVED)
    card.report(CardEvent.INSERTED)
    watched.wait(BridgeState.INSERTED)
    assert peer.atr is not None
    assert peer.atr.endswith(b"another!")
    assert ATR[2:] not in peer.atr


def test_removal_during_power_on_is_not_missed(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    peer, watched, card = make_peer(), make_bridge(), FakeCard()
    card.power_gate.clear()
    watched.bridge.insert(card)
    assert card.waiting.wait(5)
    card.report(CardEvent.REMOVED)
    card.power_gate.set()
    wait_until(lambda: "power_off" in card.calls, 5, "the power to go off")
    assert ATR_MESSAGE not in peer.types()
    card.report(CardEvent.INSERTED)
    watched.wait(BridgeState.INSERTED)


def test_events_of_a_card_that_is_no_longer_wanted_are_ignored(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = FakeCard()
    _, watched = inserted(make_peer, make_bridge, card)
    listener = card.listener
    assert listener is not None
    watched.bridge.eject()
    watched.wait(BridgeState.EMPTY)
    wait_until(lambda: not card.on, 5, "the power to go off")
    listener(CardEvent.REMOVED)
    listener(CardEvent.INSERTED)
    assert watched.bridge.status.state is BridgeState.EMPTY


# Hanging, and changes in the middle of a command.


def test_command_that_hangs_fails_in_the_guest_in_bounded_time(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND, timeout=SHORT[Timer.TRANSMIT] + 2)
    watched.wait(BridgeState.EMPTY, error="does not answer")
    peer.wait_empty()
    assert card.on, "nobody may touch a card that somebody is still inside"
    card.gate.set()


def test_late_answer_is_dropped_and_the_card_inserted_anew(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    with pytest.raises(NotTransacted):
        peer.exchange(COMMAND)
    watched.wait(BridgeState.EMPTY)
    card.answers[OTHER] = ANSWER
    card.gate.set()
    watched.wait(BridgeState.INSERTED)
    assert card.calls == ["power_on", "power_off", "power_on"]
    assert peer.exchange(OTHER) == ANSWER
    assert peer.answers.empty()
    assert peer.unasked == 0
    assert card.most_inside == 1


def test_guest_that_goes_on_asking_a_hanging_card_is_answered(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    for _ in range(5):
        with pytest.raises(NotTransacted):
            peer.exchange(COMMAND, timeout=3)
    watched.wait(BridgeState.EMPTY)
    assert len(card.commands) == 1
    assert peer.types().count(ERROR) == 1 + 5  # the greeting has one
    card.gate.set()


def test_eject_in_the_middle_of_a_command(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    peer.send_apdu(COMMAND)
    assert card.waiting.wait(5)
    watched.bridge.eject()
    with pytest.raises(NotTransacted):
        peer.answer()
    with pytest.raises(NotTransacted):
        peer.exchange(OTHER)
    watched.wait(BridgeState.EMPTY)
    assert card.on
    card.gate.set()
    wait_until(lambda: not card.on, 5, "the power to go off")
    assert OTHER not in card.commands
    assert APDU not in peer.types()


def test_another_card_in_the_middle_of_a_command(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    first, second = hanging(), FakeCard({COMMAND: ANSWER})
    peer, watched = inserted(make_peer, make_bridge, first)
    peer.send_apdu(COMMAND)
    assert first.waiting.wait(5)
    watched.forget()
    watched.bridge.insert(second)
    with pytest.raises(NotTransacted):
        peer.answer()
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND) == ANSWER
    first.gate.set()
    wait_until(lambda: not first.on, 5, "the first card to be let go")
    assert peer.exchange(COMMAND) == ANSWER
    assert peer.answers.empty()


def test_stop_in_the_middle_of_a_command(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    peer.send_apdu(COMMAND)
    assert card.waiting.wait(5)
    watched.bridge.stop()
    assert watched.bridge.join(5)
    with pytest.raises(NotTransacted):
        peer.answer()
    assert card.on
    card.gate.set()
    wait_until(lambda: not card.on, 5, "the card to be let go")
    assert card.listener is None


def test_removal_in_the_middle_of_a_command(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    peer.send_apdu(COMMAND)
    assert card.waiting.wait(5)
    card.report(CardEvent.REMOVED)
    with pytest.raises(NotTransacted):
        peer.answer()
    watched.wait(BridgeState.EMPTY)
    card.gate.set()
    wait_until(lambda: not card.on, 5, "the power to go off")
    card.report(CardEvent.INSERTED)
    watched.wait(BridgeState.INSERTED)


def test_card_that_raises_on_power_off_is_let_go_all_the_same(make_peer: MakePeer, make_bridge: MakeBridge) -> None:
    class Stubborn(FakeCard):
        def power_off(self) -> None:
            super().power_off()
            raise OSError

    card = Stubborn()
    _, watched = inserted(make_peer, make_bridge, card)
    watched.bridge.eject()
    watched.wait(BridgeState.EMPTY)
    other = FakeCard()
    watched.bridge.insert(other)
    watched.wait(BridgeState.INSERTED)
    assert card.listener is None


def test_a_bridge_for_whose_hanging_card_no_thread_is_left_goes_on_when_the_card_answers(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(NotTransacted):
            peer.exchange(COMMAND)
        watched.wait(BridgeState.EJECTING, error="does not answer")
    card.gate.set()
    watched.wait(BridgeState.INSERTED)
    peer.wait_card()
    assert peer.exchange(COMMAND) == b"\x90\x00"
    assert card.most_inside == 1


def test_what_a_bridge_sends_that_went_on_without_another_thread_reaches_the_card(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waited for the command that hung, but somebody does for the next."""
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, LogoutByReset(card))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(NotTransacted):
            peer.exchange(COMMAND)
        watched.wait(BridgeState.EJECTING, error="does not answer")
    card.gate.set()
    watched.wait(BridgeState.INSERTED)
    peer.wait_card()
    assert peer.exchange(COMMAND) == b"\x90\x00"


# Asking twice.


def test_time_of_a_command_goes_on_when_the_card_is_asked_a_second_time_for_it(
    make_peer: MakePeer, make_bridge: MakeBridge
) -> None:
    """Or it could wait for its turn at a shared card, or for a person, twice as long as its guest does."""
    spent: list[float] = []

    def answer(command: bytes) -> bytes:
        spent.append(errand().spent())
        threading.Event().wait(0.05)
        return b"\x6c\x14" if command[-1] == 0 else b"\x90\x00"

    card = FakeCard(default=answer)
    card.transmission = Transmission.T1
    peer, _ = inserted(make_peer, make_bridge, card)
    for _ in range(2):
        assert peer.exchange(bytes.fromhex("00a4040002a000")) == b"\x90\x00"
    first, again, second, _ = spent
    assert again >= 0.05
    assert first < 0.05 > second


# A fault of our own.


def test_a_bridge_that_ends_by_a_fault_of_ours_lets_its_card_go(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = FakeCard()
    _peer, watched = inserted(make_peer, make_bridge, card)
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_converse", broken)
        watched.bridge.insert(card)
        watched.wait(BridgeState.CLOSED, error="virtcard made a mistake")
    assert watched.bridge.join(5)
    assert not card.on
    assert card.listener is None


def test_a_bridge_that_ends_by_a_fault_of_ours_lets_go_of_the_card_that_waits_for_its_turn_too(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, coming = FakeCard(), FakeCard()
    _peer, watched = inserted(make_peer, make_bridge, card)
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_converse", broken)
        watched.bridge.insert(coming)
        watched.wait(BridgeState.CLOSED)
    assert watched.bridge.join(5)
    assert not card.on
    assert coming.calls[-1] == "power_off"


def test_a_card_that_a_thread_is_inside_of_when_the_bridge_ends_by_a_fault_is_let_go_by_that_thread(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = hanging()
    peer, watched = inserted(make_peer, make_bridge, card)
    peer.send_apdu(COMMAND)
    assert card.waiting.wait(5)
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_converse", broken)
        watched.bridge.eject()
        watched.wait(BridgeState.CLOSED)
    assert watched.bridge.join(5)
    assert card.on
    card.gate.set()
    wait_until(lambda: not card.on, 5, "the thread that came back has let go of it")
    assert card.most_inside == 1


def test_a_card_for_a_bridge_that_has_ended_stays_whose_it_is(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, late = FakeCard(), FakeCard()
    _peer, watched = inserted(make_peer, make_bridge, card)
    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_converse", broken)
        watched.bridge.eject()
        watched.wait(BridgeState.CLOSED)
    assert watched.bridge.join(5)
    assert not watched.bridge.insert(late)
    assert not late.calls


def test_a_card_that_a_bridge_took_while_it_ended_is_let_go(
    make_peer: MakePeer, make_bridge: MakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, late = FakeCard(), FakeCard()
    _peer, watched = inserted(make_peer, make_bridge, card)
    taken: list[bool] = []
    let_go = Worker._let_go_of_all

    def just_before(worker: Worker) -> None:
        taken.append(watched.bridge.insert(late))
        let_go(worker)

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "_converse", broken)
        patched.setattr(Worker, "_let_go_of_all", just_before)
        watched.bridge.eject()
        assert watched.bridge.join(5)
    assert taken == [True]
    assert late.calls == ["power_off"]


def none_left(_thread: threading.Thread) -> None:
    """The system has no thread left."""
    raise RuntimeError("can't start new thread")


def broken(*_arguments: object) -> None:
    """A bug."""
    raise ValueError("a bug")
