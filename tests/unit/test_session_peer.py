"""A peer that is busy, silent, confused or hostile, and bytes that come one by one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sessions import (
    ACK,
    INIT,
    OK,
    YUBIKEY_ATR,
    apdu,
    ejecting,
    failures,
    inserted,
    ready,
    removing,
    settled,
    ticket,
)
from virtcard.bridge.session import Effect, Session, SessionState, Timer
from virtcard.card.base import Transmission
from virtcard.errors import LocalError, PeerError, PeerStuck
from virtcard.limits import MEANINGLESS_MAX, STRAY_APDU_MAX
from virtcard.wire.vscard import MessageType, encode


def test_no_init_means_that_the_chardev_is_busy_with_another_client() -> None:
    session = Session()
    session.start()
    with pytest.raises(PeerStuck, match="busy with another client") as caught:
        session.expired(Timer.ACK)
    assert caught.value.hint
    assert session.state is SessionState.BROKEN


@pytest.mark.parametrize("heard", [b"", ACK])
def test_a_greeting_that_stops_is_the_peers_fault(heard: bytes) -> None:
    session = settled()
    session.feed(heard)
    with pytest.raises(PeerError, match="did not acknowledge"):
        session.expired(Timer.ACK)


def test_a_card_message_that_is_never_acknowledged_is_the_peers_fault() -> None:
    inserting = ready()
    inserting.insert(YUBIKEY_ATR, Transmission.T0)
    for session in (inserting, removing()):
        with pytest.raises(PeerError, match="did not acknowledge"):
            session.expired(Timer.ACK)


def test_timers_that_lost_the_race_do_nothing() -> None:
    for session in (ready(), inserted()):
        assert all(session.expired(timer) == [] for timer in Timer)
    assert all(ejecting().expired(timer) == [] for timer in (Timer.ACK, Timer.GAP, Timer.TRANSMIT))


@pytest.mark.parametrize(
    "wire",
    [
        "00000001 ffffffff 0000000c 56534345 00000002 00000000",  # wrong magic
        "00000001 ffffffff 00000000",  # an Init without anything
        "00000001 ffffffff 00000008 56534344 00000002",  # cut
        "00000002 00000000 00000004 00000000",  # an acknowledgement of nothing
        "00000002 00000000 00000004 00000001",
        "00000007 00000000 0000fff5",  # one byte more than QEMU's buffer
        "00000007 00000000 ffffffff",
        "56534344 00000002 fffffffe",  # a stream that lost its place
    ],
)
def test_a_greeting_that_is_none_is_the_peers_fault(wire: str) -> None:
    session = Session()
    session.start()
    with pytest.raises(PeerError):
        session.feed(bytes.fromhex(wire))
    assert session.state is SessionState.BROKEN


@pytest.mark.parametrize("wire", ["00000002 00000000 00000000", "00000002 00000000 00000005 0000000000"])
def test_an_acknowledgement_that_is_cut_is_the_peers_fault(wire: str) -> None:
    session = Session()
    session.start()
    session.feed(INIT)
    with pytest.raises(PeerError):
        session.feed(bytes.fromhex(wire))


@pytest.mark.parametrize("session", [ready(), inserted(), ejecting()])
def test_an_acknowledgement_that_nobody_awaits_is_the_peers_fault(session: Session) -> None:
    with pytest.raises(PeerStuck, match="did not send"):
        session.feed(ACK)


def test_a_card_remove_that_is_refused_is_the_peers_fault() -> None:
    with pytest.raises(PeerError):
        removing().feed(bytes.fromhex("00000002 00000000 00000004 00000001"))


def test_a_broken_session_is_silent() -> None:
    session = inserted()
    session.feed(apdu())
    with pytest.raises(PeerError):
        session.feed(ACK)
    assert session.feed(apdu()) == session.eject() == session.close() == []
    assert session.answer(1, OK) == session.fail(1) == []
    assert all(session.expired(timer) == [] for timer in Timer)
    with pytest.raises(LocalError):
        session.insert(YUBIKEY_ATR, Transmission.T0)


def test_the_sentence_of_a_peer_error_holds_no_bytes() -> None:
    session = inserted()
    with pytest.raises(PeerError) as caught:
        session.feed(b"1234" * 6)
    assert "1234" not in str(caught.value)


def play(greeting: list[bytes], rest: list[bytes]) -> list[Effect]:
    """A life with a card: how the peer greets, and what it says after the ATR, in these pieces."""
    session = Session()
    effects = session.start()
    for piece in greeting:
        effects += session.feed(piece)
    effects += session.expired(Timer.QUIET)
    effects += session.feed(ACK * 2)
    effects += session.insert(YUBIKEY_ATR, Transmission.T1)
    effects += session.expired(Timer.GAP)
    for piece in rest:
        effects += session.feed(piece)
    return effects


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(edge, len(stream)) for edge in cuts), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(edges)]


edges = st.lists(st.integers(0, 3000), max_size=10)


@given(st.sampled_from([INIT, INIT + INIT]), st.lists(st.binary(max_size=300), max_size=8), edges, edges)
def test_bytes_one_by_one_have_the_same_effects(
    inits: bytes, commands: list[bytes], early: list[int], late: list[int]
) -> None:
    greeting, rest = inits, ACK + b"".join(map(apdu, commands))
    one_by_one = play([bytes((byte,)) for byte in greeting], [bytes((byte,)) for byte in rest])
    assert play([greeting], [rest]) == one_by_one
    assert play(cut(greeting, early), cut(rest, late)) == one_by_one


@given(st.binary(max_size=400), st.booleans())
def test_noise_breaks_the_session_or_nothing(noise: bytes, greeted: bool) -> None:
    session = inserted() if greeted else Session()
    if not greeted:
        session.start()
    try:
        for byte in noise:
            session.feed(bytes((byte,)))
    except PeerError:
        assert session.state is SessionState.BROKEN


def test_few_messages_without_a_meaning_are_passed_over_and_many_are_the_peers_fault() -> None:
    session = inserted()
    few, more = [encode(MessageType(99), b"x" * 500) for _ in range(MEANINGLESS_MAX)], encode(MessageType.FLUSH)
    assert session.feed(b"".join(few)) == []
    with pytest.raises(PeerError, match="mean nothing"):
        session.feed(more)
    assert session.state is SessionState.BROKEN


def test_apdus_for_an_empty_reader_fail_and_too_many_of_them_are_the_peers_fault() -> None:
    session = ready()
    assert failures(session.feed(apdu() * STRAY_APDU_MAX)) == STRAY_APDU_MAX
    with pytest.raises(PeerError, match="empty reader"):
        session.feed(apdu())


def test_apdus_for_an_empty_reader_are_forgotten_with_the_next_one_for_a_card() -> None:
    session = ready()
    session.feed(apdu() * STRAY_APDU_MAX)
    session.insert(YUBIKEY_ATR, Transmission.T0)
    session.feed(ACK)
    session.answer(ticket(session.feed(apdu())), OK)
    session.eject()
    session.expired(Timer.QUIET)
    session.feed(ACK)
    assert failures(session.feed(apdu() * STRAY_APDU_MAX)) == STRAY_APDU_MAX


def test_guest_that_goes_on_asking_while_its_card_leaves_does_nothing_wrong() -> None:
    session = ejecting()
    assert failures(session.feed(apdu() * 2 * STRAY_APDU_MAX)) == 2 * STRAY_APDU_MAX
