"""A session from the greeting to the card that is in. The bytes are those that QEMU 7.2 and vscclient exchange."""

from __future__ import annotations

import pytest

from helpers.sessions import (
    ACK,
    INIT,
    REFUSAL,
    YUBIKEY_ATR,
    apdu,
    failures,
    inserted,
    kinds,
    ready,
    removing,
    sent,
    settled,
)
from virtcard import limits
from virtcard.bridge.session import (
    Ejected,
    Finished,
    Inserted,
    Ready,
    Refused,
    Send,
    Session,
    SessionState,
    StartTimer,
    StopTimer,
    Timer,
)
from virtcard.card.base import Transmission
from virtcard.errors import CardError, LocalError, PeerError
from virtcard.wire.atr import t0_atr
from virtcard.wire.vscard import ErrorCode, Message, MessageType, encode, encode_error

WAIT_FOR_ACK = StartTimer(Timer.ACK, limits.ACK_PATIENCE)
WAIT_FOR_GAP = StartTimer(Timer.GAP, limits.INSERT_GAP)
WAIT_FOR_QUIET = StartTimer(Timer.QUIET, limits.EJECT_QUIET)
AT_MOST = StartTimer(Timer.EJECT, limits.EJECT_PATIENCE)
A_FAILURE = encode_error(ErrorCode.GENERAL_ERROR)


def test_the_greeting_is_vscclients() -> None:
    session = Session()
    assert session.start() == [
        Send(bytes.fromhex("00000001 ffffffff 0000000c 56534344 00000002 00000000")),
        WAIT_FOR_ACK,
    ]
    assert session.feed(INIT) == [StopTimer(Timer.ACK), Send(A_FAILURE), WAIT_FOR_QUIET, AT_MOST]
    assert session.expired(Timer.QUIET) == [
        StopTimer(Timer.QUIET),
        StopTimer(Timer.EJECT),
        Send(bytes.fromhex("00000004 00000000 00000000")),
        WAIT_FOR_ACK,
    ]
    assert session.feed(ACK) == [WAIT_FOR_GAP, Send(bytes.fromhex("00000003 ffffffff 00000000")), WAIT_FOR_ACK]
    assert session.feed(ACK) == [StopTimer(Timer.ACK), Ready()]
    assert session.state is SessionState.EMPTY


def test_an_apdu_that_a_dead_client_left_is_answered_before_the_reader_is_cleared() -> None:
    # ReaderRemove wipes it, and the guest waited for 23 s. A VSC_Error without an APDU does nothing.
    session = Session()
    session.start()
    assert sent(session.feed(INIT)) == [Message(MessageType.ERROR, 0, (1).to_bytes(4))]
    assert session.state is SessionState.SETTLING


def test_the_reader_is_cleared_when_the_guest_asks_no_more() -> None:
    session = Session()
    session.start()
    session.feed(INIT)
    again = session.feed(apdu())
    assert failures(again) == 1
    assert WAIT_FOR_QUIET in again
    assert kinds(session.expired(Timer.QUIET)) == [MessageType.READER_REMOVE]


def test_the_reader_is_cleared_when_the_guest_never_ceases_to_ask() -> None:
    session = Session()
    session.start()
    session.feed(INIT)
    assert failures(session.feed(apdu() * 5)) == 5
    assert kinds(session.expired(Timer.EJECT)) == [MessageType.READER_REMOVE]


def test_the_gap_of_a_change_is_longer_than_a_guest_was_seen_to_look_away() -> None:
    # Measured: 330 to 350 ms from CardRemove until the guest of a failed command sees it, on an idle host.
    assert limits.CHANGE_GAP > 2 * 0.35


def test_a_machine_that_came_in_has_a_longer_gap_before_its_first_card_and_then_those_of_all() -> None:
    session = Session(limits.CAME_IN_GAP)
    session.start()
    session.feed(INIT)
    session.expired(Timer.QUIET)
    assert StartTimer(Timer.GAP, limits.CAME_IN_GAP) in session.feed(ACK)
    session.feed(ACK)
    session.insert(YUBIKEY_ATR, Transmission.T1)
    assert kinds(session.expired(Timer.GAP)) == [MessageType.ATR]
    session.feed(ACK)
    session.eject()
    session.expired(Timer.QUIET)
    assert StartTimer(Timer.GAP, limits.CHANGE_GAP) in session.feed(ACK)


def test_one_init_is_enough() -> None:
    assert settled(INIT).state is SessionState.CLEARING


def test_a_second_init_is_taken_without_a_word() -> None:
    # A chardev with wait=on, and a card plugged in while a client was there, send one of their own accord.
    session = settled(INIT + INIT)
    assert kinds(session.feed(ACK)) == [MessageType.READER_ADD]


def test_the_second_init_may_come_late() -> None:
    session = settled(INIT)
    assert session.feed(INIT) == []


def test_an_init_after_the_greeting_means_a_new_device() -> None:
    with pytest.raises(PeerError, match="replaced the virtual reader"):
        inserted().feed(INIT)


def test_no_message_goes_out_before_the_last_is_acknowledged() -> None:
    session = Session()
    session.start()
    assert session.expired(Timer.GAP) == []
    session.feed(INIT)
    assert kinds(session.expired(Timer.QUIET)) == [MessageType.READER_REMOVE]
    assert session.feed(b"") == []
    assert session.expired(Timer.QUIET) == []
    assert kinds(session.feed(ACK)) == [MessageType.READER_ADD]
    session.feed(ACK)
    session.insert(YUBIKEY_ATR, Transmission.T1)
    assert kinds(session.expired(Timer.GAP)) == [MessageType.ATR]
    assert session.eject() == []
    assert session.close() == []
    assert kinds(session.feed(ACK)) == []
    assert kinds(session.expired(Timer.QUIET)) == [MessageType.CARD_REMOVE]
    assert kinds(session.feed(ACK)) == [MessageType.READER_REMOVE]


def test_a_reader_that_cannot_be_cleared_is_clear() -> None:
    # spice-server refuses to remove a reader that was never added.
    session = settled()
    assert kinds(session.feed(REFUSAL)) == [MessageType.READER_ADD]


@pytest.mark.parametrize("code", [1, 2, 3, 0x0100_0000])
def test_a_reader_that_cannot_be_added_is_the_end(code: int) -> None:
    session = settled()
    session.feed(ACK)
    with pytest.raises(PeerError):
        session.feed(encode_error(ErrorCode(code)))
    assert session.state is SessionState.BROKEN


def test_the_atr_waits_for_the_gap_after_the_greeting() -> None:
    session = settled()
    session.feed(ACK + ACK)
    assert session.insert(YUBIKEY_ATR, Transmission.T1) == []
    assert session.state is SessionState.WAITING
    assert kinds(session.expired(Timer.GAP)) == [MessageType.ATR]


def test_the_guest_gets_a_t0_atr_with_our_patience() -> None:
    session = ready()
    effects = session.insert(YUBIKEY_ATR, Transmission.T1)
    assert sent(effects) == [Message(MessageType.ATR, 0, t0_atr(YUBIKEY_ATR))]
    assert effects[1:] == [WAIT_FOR_ACK]
    assert session.feed(ACK) == [StopTimer(Timer.ACK), Inserted()]
    assert session.state is SessionState.INSERTED


def test_a_refused_atr_leaves_the_slot_empty() -> None:
    session = ready()
    session.insert(YUBIKEY_ATR, Transmission.T1)
    assert session.feed(REFUSAL) == [StopTimer(Timer.ACK), Refused(), Ejected()]
    assert session.state is SessionState.EMPTY
    assert kinds(session.insert(YUBIKEY_ATR, Transmission.T1)) == [MessageType.ATR]


def test_an_atr_that_is_none_is_the_cards_fault() -> None:
    session = ready()
    with pytest.raises(CardError):
        session.insert(b"\x3b\x0f", Transmission.T0)
    assert session.state is SessionState.EMPTY


def test_the_reader_id_is_the_one_that_qemu_gave() -> None:
    session = settled()
    session.feed(ACK + encode_error(ErrorCode.SUCCESS, 7))
    session.expired(Timer.GAP)
    assert sent(session.insert(YUBIKEY_ATR, Transmission.T0))[0].reader_id == 7
    session.feed(ACK)
    assert sent(session.feed(encode(MessageType.APDU, b"")))[0].reader_id == 7
    session.eject()
    assert sent(session.expired(Timer.QUIET))[0].reader_id == 7


@pytest.mark.parametrize("state", ["new", "greeting", "waiting", "inserting", "inserted", "ejecting", "removing"])
def test_insert_is_for_an_empty_slot(state: str) -> None:
    session = at(SessionState(state))
    with pytest.raises(LocalError):
        session.insert(YUBIKEY_ATR, Transmission.T0)
    assert session.state == state


def test_starting_twice_is_our_own_fault() -> None:
    session = Session()
    session.start()
    with pytest.raises(LocalError):
        session.start()


def test_ejecting_before_the_start_is_our_own_fault() -> None:
    with pytest.raises(LocalError):
        Session().eject()


def test_ejecting_during_the_greeting_changes_nothing() -> None:
    session = settled()
    assert session.eject() == []
    assert session.feed(ACK + ACK)[-1] == Ready()


def test_unknown_messages_are_passed_over() -> None:
    session = inserted()
    for number in (0, 3, 4, 5, 6, 8, 9, 10, 99, 0xFFFF_FFFF):
        assert session.feed(encode(MessageType(number), b"whatever")) == []
    assert session.state is SessionState.INSERTED


def test_a_closed_session_that_never_started_is_finished() -> None:
    session = Session()
    assert session.close() == [Finished()]
    assert session.state is SessionState.FINISHED


def at(state: SessionState) -> Session:
    """A session in this state."""
    if state is SessionState.INSERTED:
        return inserted()
    if state is SessionState.REMOVING:
        return removing()
    session = Session()
    if state is not SessionState.NEW:
        session.start()
    if state in {SessionState.WAITING, SessionState.INSERTING}:
        session = settled()
        session.feed(ACK + ACK)
        session.insert(YUBIKEY_ATR, Transmission.T0)
    if state is SessionState.INSERTING:
        session.expired(Timer.GAP)
    if state is SessionState.EJECTING:
        session = inserted()
        session.eject()
    return session
