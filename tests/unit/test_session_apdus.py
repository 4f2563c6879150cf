"""Every APDU is answered exactly once, in order: QEMU aborts at the 129th that is not (ccid_add_pending_answer)."""

from __future__ import annotations

import pytest

from helpers.sessions import (
    ACK,
    OK,
    READ,
    SELECT,
    YUBIKEY_ATR,
    apdu,
    ejecting,
    failures,
    inserted,
    kinds,
    ready,
    removing,
    sent,
    settled,
    ticket,
)
from virtcard import limits
from virtcard.bridge.session import (
    Hung,
    Send,
    Session,
    SessionState,
    StartTimer,
    StopTimer,
    Timer,
    Transmit,
)
from virtcard.card.base import Transmission
from virtcard.errors import PeerError
from virtcard.wire.vscard import Message, MessageType, encode

VSC_ERROR = Send(bytes.fromhex("00000002 00000000 00000004 00000001"))


def answer_message(response: bytes) -> Send:
    return Send(encode(MessageType.APDU, response))


def test_an_apdu_goes_to_the_card_and_its_answer_back() -> None:
    session = inserted()
    effects = session.feed(apdu())
    assert effects == [StartTimer(Timer.TRANSMIT, limits.TRANSMIT_PATIENCE), Transmit(1, READ)]
    assert session.answer(1, b"\x01\x02" + OK) == [answer_message(b"\x01\x02" + OK), StopTimer(Timer.TRANSMIT)]


def test_tickets_never_repeat_over_cards() -> None:
    session = inserted()
    first = ticket(session.feed(apdu()))
    session.eject()
    session.expired(Timer.QUIET)
    session.feed(ACK)
    session.expired(Timer.GAP)
    session.insert(YUBIKEY_ATR, Transmission.T0)
    session.feed(ACK)
    assert ticket(session.feed(apdu())) > first
    assert session.answer(first, OK) == []


def test_an_answer_that_comes_twice_is_given_once() -> None:
    session = inserted()
    session.feed(apdu())
    assert kinds(session.answer(1, OK)) == [MessageType.APDU]
    assert session.answer(1, OK) == []
    assert session.fail(1) == []


@pytest.mark.parametrize("number", [0, 2, -1, 1 << 40])
def test_answers_to_what_nobody_asked_are_dropped(number: int) -> None:
    session = inserted()
    session.feed(apdu())
    assert session.answer(number, OK) == []
    assert session.fail(number) == []
    assert kinds(session.answer(1, OK)) == [MessageType.APDU]


@pytest.mark.parametrize("response", [b"", b"\x90", bytes(65_539)])
def test_an_answer_of_0_or_1_byte_becomes_vsc_error(response: bytes) -> None:
    session = inserted()
    session.feed(apdu())
    assert session.answer(1, response) == [VSC_ERROR, StopTimer(Timer.TRANSMIT)]


def test_a_failed_card_is_vsc_error() -> None:
    session = inserted()
    session.feed(apdu())
    assert session.fail(1) == [VSC_ERROR, StopTimer(Timer.TRANSMIT)]
    assert kinds(session.answer(ticket(session.feed(apdu())), OK)) == [MessageType.APDU]


def test_apdus_behind_each_other_are_answered_in_order() -> None:
    session = inserted()
    assert ticket(session.feed(apdu(b"\0\xb0\0\1\1") + apdu(b"\0\xb0\0\2\1"))) == 1
    assert session.feed(apdu(b"\0\xb0\0\3\1")) == []
    second = session.answer(1, b"1" + OK)
    assert second == [
        answer_message(b"1" + OK),
        StopTimer(Timer.TRANSMIT),
        StartTimer(Timer.TRANSMIT, limits.TRANSMIT_PATIENCE),
        Transmit(2, b"\0\xb0\0\2\1"),
    ]
    third = session.fail(2)
    assert (failures(third), ticket(third)) == (1, 3)
    assert sent(session.answer(3, b"3" + OK)) == [Message(MessageType.APDU, 0, b"3" + OK)]


def test_what_we_answer_ourselves_waits_for_its_turn() -> None:
    session = inserted()
    session.feed(apdu() + apdu(b"\0") + apdu(b"") + apdu())
    effects = session.answer(1, OK)
    assert [message.payload for message in sent(effects)] == [OK, b"\x67\x00", b"\x67\x00"]
    assert ticket(effects) == 2


def test_a_peer_that_never_waits_is_given_up() -> None:
    session = inserted()
    session.feed(apdu() * (1 + limits.APDU_QUEUE_MAX))
    with pytest.raises(PeerError, match="without waiting"):
        session.feed(apdu())
    assert session.state is SessionState.BROKEN
    assert session.answer(1, OK) == []


def test_an_apdu_without_a_header_never_reaches_the_card() -> None:
    assert sent(inserted().feed(apdu(b"\0\xa4\x04"))) == [Message(MessageType.APDU, 0, b"\x67\x00")]


def test_an_answer_of_54_bytes_is_split() -> None:
    session = inserted()
    session.feed(apdu())
    assert sent(session.answer(1, bytes(52) + OK))[0].payload == bytes(51) + b"\x61\x01"
    effects = session.feed(apdu(bytes.fromhex("00C0000001")))
    assert sent(effects)[0].payload == b"\0" + OK
    assert not any(isinstance(effect, Transmit) for effect in effects)


def test_a_t1_card_gets_its_le_and_may_correct_it() -> None:
    session = inserted(Transmission.T1)
    assert session.feed(apdu(SELECT))[-1] == Transmit(1, SELECT + b"\0")
    assert session.answer(1, b"\x6c\x14") == [Transmit(2, SELECT + b"\x14", goes_on=True)]
    assert kinds(session.answer(2, bytes(20) + OK)) == [MessageType.APDU]


def test_a_retry_of_ours_does_not_prolong_the_guests_wait() -> None:
    session = inserted(Transmission.T1)
    session.feed(apdu(SELECT))
    assert not any(isinstance(effect, StartTimer) for effect in session.answer(1, b"\x67\x00"))


@pytest.mark.parametrize("state", ["greeting", "clearing", "adding", "empty", "waiting", "inserting", "leaving"])
def test_an_apdu_without_a_card_gets_vsc_error(state: str) -> None:
    session = without_card(SessionState(state))
    assert session.feed(apdu()) == [VSC_ERROR]
    assert session.state == state


def test_an_apdu_during_the_ceremony_gets_vsc_error_and_prolongs_it() -> None:
    assert ejecting().feed(apdu() * 2) == [VSC_ERROR, StartTimer(Timer.QUIET, limits.EJECT_QUIET)] * 2


def test_an_apdu_that_crosses_card_remove_gets_vsc_error() -> None:
    assert removing().feed(apdu() + ACK)[0] == VSC_ERROR


def test_a_card_that_hangs_is_reported_and_ejected() -> None:
    session = inserted()
    session.feed(apdu() * 3)
    effects = session.expired(Timer.TRANSMIT)
    assert failures(effects) == 3
    assert effects[-1] == Hung(1)
    assert StartTimer(Timer.QUIET, limits.EJECT_QUIET) in effects
    assert session.state is SessionState.EJECTING
    assert session.answer(1, OK) == []


def test_a_transmit_timer_that_lost_the_race_does_nothing() -> None:
    session = inserted()
    session.feed(apdu())
    session.answer(1, OK)
    assert session.expired(Timer.TRANSMIT) == []
    assert session.state is SessionState.INSERTED


def test_commands_and_answers_stay_out_of_the_reprs() -> None:
    session = inserted()
    secret = bytes.fromhex("0020008004") + b"1234"
    assert "1234" not in repr(session.feed(apdu(secret))) + repr(session.answer(1, b"1234" + OK))


def without_card(state: SessionState) -> Session:
    """A session in a state in which no card is in."""
    session = ready() if state in {SessionState.EMPTY, SessionState.LEAVING, SessionState.INSERTING} else Session()
    if state is SessionState.LEAVING:
        session.close()
    if state is SessionState.INSERTING:
        session.insert(YUBIKEY_ATR, Transmission.T0)
    if session.state is SessionState.NEW:
        session.start()
    acks = [SessionState.CLEARING, SessionState.ADDING, SessionState.WAITING]
    if state in acks:
        session = settled()
        session.feed(ACK * acks.index(state))
    if state is SessionState.WAITING:
        session.insert(YUBIKEY_ATR, Transmission.T0)
    return session
