"""Taking a card out, which hangs guests when it is done at a bad moment, and the orderly end."""

from __future__ import annotations

from helpers.sessions import (
    ACK,
    INIT,
    OK,
    REFUSAL,
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
)
from virtcard import limits
from virtcard.bridge.session import (
    Ejected,
    Finished,
    Inserted,
    Refused,
    Send,
    Session,
    SessionState,
    StartTimer,
    StopTimer,
    Timer,
)
from virtcard.card.base import Transmission
from virtcard.wire.vscard import Message, MessageType

QUIET = StartTimer(Timer.QUIET, limits.EJECT_QUIET)
PATIENCE = StartTimer(Timer.EJECT, limits.EJECT_PATIENCE)
GAP = StartTimer(Timer.GAP, limits.CHANGE_GAP)


def test_a_card_without_work_waits_for_quiet_too() -> None:
    # Its last answer may not have been fetched by the guest.
    session = inserted()
    assert session.eject() == [QUIET, PATIENCE]


def test_pending_apdus_get_vsc_error_before_the_card_goes() -> None:
    session = inserted()
    session.feed(apdu() * 3)
    effects = session.eject()
    assert failures(effects) == 3
    assert effects[3:] == [StopTimer(Timer.TRANSMIT), QUIET, PATIENCE]
    assert session.answer(1, OK) == []


def test_card_remove_goes_out_after_100_ms_without_an_apdu() -> None:
    session = ejecting()
    effects = session.expired(Timer.QUIET)
    assert sent(effects) == [Message(MessageType.CARD_REMOVE)]
    assert StopTimer(Timer.EJECT) in effects
    assert session.feed(ACK) == [StopTimer(Timer.ACK), Ejected(), GAP]
    assert session.state is SessionState.EMPTY


def test_an_apdu_that_crosses_card_remove_keeps_the_next_card_out_until_the_guest_gives_it_up() -> None:
    # QEMU forgets the APDU; pcscd in the guest sits in it, and looks at the reader no earlier than its own time-out.
    session = ejecting()
    session.expired(Timer.QUIET)
    assert failures(session.feed(apdu())) == 1
    assert session.feed(ACK) == [StopTimer(Timer.ACK), Ejected(), StartTimer(Timer.GAP, limits.LOST_ANSWER_GAP)]
    assert limits.LOST_ANSWER_GAP > limits.GUEST_PATIENCE
    assert session.insert(YUBIKEY_ATR, Transmission.T1) == []
    assert MessageType.ATR in kinds(session.expired(Timer.GAP))


def test_the_card_after_it_waits_no_longer_than_usual() -> None:
    session = ejecting()
    session.expired(Timer.QUIET)
    session.feed(apdu() + ACK)
    session.insert(YUBIKEY_ATR, Transmission.T1)
    session.expired(Timer.GAP)
    session.feed(ACK)
    session.eject()
    session.expired(Timer.QUIET)
    assert session.feed(ACK)[-1] == GAP


def test_the_gap_and_the_quiet_are_those_that_guests_were_seen_to_need() -> None:
    assert limits.EJECT_QUIET >= 0.1
    assert limits.INSERT_GAP >= 0.2
    assert limits.TRANSMIT_PATIENCE < limits.GUEST_PATIENCE


def test_a_guest_that_never_is_quiet_delays_it_no_longer_than_the_patience() -> None:
    session = ejecting()
    for _ in range(50):
        assert failures(session.feed(apdu())) == 1
    effects = session.expired(Timer.EJECT)
    assert kinds(effects) == [MessageType.CARD_REMOVE]
    assert StopTimer(Timer.QUIET) in effects


def test_what_waits_for_get_response_goes_with_the_card() -> None:
    session = inserted()
    session.feed(apdu())
    session.answer(1, bytes(300) + OK)
    assert session.eject() == [QUIET, PATIENCE]
    assert failures(session.feed(apdu(bytes.fromhex("00C000002C")))) == 1


def test_the_next_card_does_not_answer_for_the_last() -> None:
    session = inserted()
    session.feed(apdu())
    session.answer(1, bytes(300) + OK)
    session.eject()
    session.expired(Timer.QUIET)
    session.feed(ACK)
    session.insert(YUBIKEY_ATR, Transmission.T0)
    session.expired(Timer.GAP)
    session.feed(ACK)
    assert kinds(session.feed(apdu(bytes.fromhex("00C000002C")))) == []


def test_ejecting_again_changes_nothing() -> None:
    session = ejecting()
    assert session.eject() == []
    session.expired(Timer.QUIET)
    assert session.eject() == []
    session.feed(ACK)
    assert session.eject() == []


def test_the_next_atr_waits_200_ms_after_card_remove() -> None:
    session = removing()
    session.feed(ACK)
    assert session.insert(YUBIKEY_ATR, Transmission.T0) == []
    assert kinds(session.expired(Timer.GAP)) == [MessageType.ATR]
    assert session.feed(ACK)[-1] == Inserted()


def test_after_the_gap_the_next_atr_goes_out_at_once() -> None:
    session = removing()
    session.feed(ACK)
    assert session.expired(Timer.GAP) == []
    assert kinds(session.insert(YUBIKEY_ATR, Transmission.T0)) == [MessageType.ATR]


def test_a_card_that_waits_for_the_gap_is_withdrawn_at_once() -> None:
    session = removing()
    session.feed(ACK)
    session.insert(YUBIKEY_ATR, Transmission.T0)
    assert session.eject() == [Ejected()]
    assert session.insert(YUBIKEY_ATR, Transmission.T0) == []
    assert kinds(session.expired(Timer.GAP)) == [MessageType.ATR]


def test_a_card_whose_atr_is_on_its_way_is_taken_out_when_it_is_in() -> None:
    session = ready()
    session.insert(YUBIKEY_ATR, Transmission.T0)
    assert session.eject() == []
    assert session.feed(ACK) == [StopTimer(Timer.ACK), QUIET, PATIENCE]
    assert session.feed(apdu())[0] == Send(bytes.fromhex("00000002 00000000 00000004 00000001"))
    assert kinds(session.expired(Timer.QUIET)) == [MessageType.CARD_REMOVE]


def test_an_unwanted_card_that_qemu_refuses_is_out() -> None:
    session = ready()
    session.insert(YUBIKEY_ATR, Transmission.T0)
    session.eject()
    assert session.feed(REFUSAL) == [StopTimer(Timer.ACK), Refused(), Ejected()]


def test_closing_takes_the_card_out_then_the_reader_then_ends() -> None:
    session = inserted()
    assert session.close() == [QUIET, PATIENCE]
    assert kinds(session.expired(Timer.QUIET)) == [MessageType.CARD_REMOVE]
    effects = session.feed(ACK)
    assert effects[:2] == [Ejected(), GAP]
    assert kinds(effects) == [MessageType.READER_REMOVE]
    assert session.feed(ACK) == [StopTimer(Timer.ACK), Finished()]
    assert session.state is SessionState.FINISHED


def test_closing_an_empty_reader_removes_it() -> None:
    session = ready()
    assert kinds(session.close()) == [MessageType.READER_REMOVE]
    assert session.feed(REFUSAL)[-1] == Finished()


def test_closing_during_the_greeting_ends_at_once() -> None:
    for heard in (b"", ACK):
        session = settled()
        session.feed(heard)
        assert session.close() == [StopTimer(Timer.ACK), Finished()]


def test_closing_while_a_dead_clients_apdus_are_answered_ends_at_once() -> None:
    session = Session()
    session.start()
    session.feed(INIT)
    assert session.close() == [Finished()]
    assert session.expired(Timer.QUIET) == []


def test_closing_while_a_card_waits_for_the_gap_takes_it_back() -> None:
    session = removing()
    session.feed(ACK)
    session.insert(YUBIKEY_ATR, Transmission.T0)
    effects = session.close()
    assert effects[0] == Ejected()
    assert kinds(effects) == [MessageType.READER_REMOVE]


def test_closing_while_the_card_goes_out_needs_no_second_ceremony() -> None:
    for session in (ejecting(), removing()):
        assert session.close() == []
        session.expired(Timer.QUIET)
        assert kinds(session.feed(ACK)) == [MessageType.READER_REMOVE]


def test_closing_twice_changes_nothing() -> None:
    session = inserted()
    session.close()
    assert session.close() == []
    session.expired(Timer.QUIET)
    session.feed(ACK + ACK)
    assert session.close() == []


def test_a_qemu_that_does_not_let_us_go_is_left() -> None:
    session = ready()
    session.close()
    assert session.expired(Timer.ACK) == [StopTimer(Timer.ACK), Finished()]


def test_a_card_that_was_never_acknowledged_out_is_out_in_the_end() -> None:
    session = removing()
    session.close()
    assert session.expired(Timer.ACK) == [StopTimer(Timer.ACK), Ejected(), Finished()]


def test_a_card_that_was_never_acknowledged_in_is_out_in_the_end() -> None:
    session = ready()
    session.insert(YUBIKEY_ATR, Transmission.T0)
    session.close()
    assert session.expired(Timer.ACK) == [StopTimer(Timer.ACK), Ejected(), Finished()]


def test_nothing_happens_after_the_end() -> None:
    session = ready()
    session.close()
    assert session.feed(ACK + apdu() + ACK)[-1] == Finished()
    assert session.feed(apdu() + b"\xff" * 12) == []
    assert session.eject() == session.close() == session.fail(1) == session.answer(1, OK) == []
    assert all(session.expired(timer) == [] for timer in Timer)
