"""A conversation is not quiet while something waits in its socket that nobody has read yet."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from helpers.sessions import apdu
from virtcard.bridge.conversation import Conversation
from virtcard.bridge.effects import StartTimer, Timer
from virtcard.bridge.link import Link
from virtcard.bridge.timers import Timers


class Talk:
    """A conversation without a bridge; `rung` is set by each of its timeouts."""

    def __init__(self, timers: Timers) -> None:
        ours, self.peer = socket.socketpair()
        self.rung = threading.Event()
        patience = {Timer.QUIET: 0.01, Timer.EJECT: 0.01}
        self.talk = Conversation(Link(ours), timers, patience, print, lambda talk, timer: self.rung.set())

    def ring(self, timer: Timer) -> bool:
        """Start this timeout and wait for it: does it count?"""
        self.talk.run(lambda: [StartTimer(timer, 60.0)])
        return self.again(timer)

    def again(self, timer: Timer) -> bool:
        """Wait for it to ring once more: does it count?"""
        assert self.rung.wait(5)
        self.rung.clear()
        return self.talk.expired(timer)


@pytest.fixture
def talk() -> Iterator[Talk]:
    timers = Timers()
    talk = Talk(timers)
    yield talk
    talk.talk.close()
    talk.peer.close()
    timers.close()


def test_silence_counts(talk: Talk) -> None:
    assert talk.ring(Timer.QUIET)


def test_it_is_not_quiet_with_an_apdu_in_the_socket(talk: Talk) -> None:
    talk.peer.sendall(apdu())
    assert not talk.ring(Timer.QUIET)
    assert not talk.again(Timer.QUIET)
    assert talk.talk.link.receive() == apdu()
    assert talk.again(Timer.QUIET)


def test_a_look_takes_nothing_out_of_the_socket(talk: Talk) -> None:
    talk.peer.sendall(apdu())
    assert talk.talk.link.unread()
    assert talk.talk.link.unread()
    assert talk.talk.link.receive() == apdu()
    assert not talk.talk.link.unread()


def test_a_peer_that_went_is_news_too(talk: Talk) -> None:
    talk.peer.close()
    assert talk.talk.link.unread()


def test_the_end_of_patience_waits_for_nobody(talk: Talk) -> None:
    talk.peer.sendall(apdu())
    assert talk.ring(Timer.EJECT)
