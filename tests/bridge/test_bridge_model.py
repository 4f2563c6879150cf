"""A whole bridge in any order of events, against a model of what must be: threads, sockets, timeouts and all."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from helpers.bridges import Watched
from helpers.exact_peer import SERIAL, ExactPeer
from helpers.fake_card import OK, FakeCard
from helpers.waiting import wait_until
from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.timers import Timers
from virtcard.card.base import CardEvent
from virtcard.errors import CardAbsent, CardError, CardWasReset
from virtcard.limits import APDU_QUEUE_MAX

QUICK = {Timer.ACK: 5.0, Timer.TRANSMIT: 0.15, Timer.GAP: 0.005, Timer.QUIET: 0.01, Timer.EJECT: 0.3}
"""Seconds: long enough to happen in between, short enough to be waited for."""
RUBBISH = (b"\xff" * 12, b"\0\0\0\x07\0\0\0\0\xff\xff\xff\xff", b"\0\0\0\x02\0\0\0\0\0\0\0\x04\0\0\0\0")
FAULTS_MAX = 2
"""A peer that breaks the protocol is called ever less often."""


class Card(FakeCard):
    """A card that answers with the number in the question, and that can be pulled, be reset or fail."""

    def __init__(self, name: str) -> None:
        super().__init__(default=self._answer)
        self.atr = b"\x3b\x01" + name.encode()
        self.present = True
        self.failures: list[CardError] = []
        self.stale = False
        self.misused = 0
        """Commands for a card that said that it was reset, and was not powered on since."""

    def power_on(self) -> bytes:
        if not self.present:
            raise CardAbsent("There is no card in the reader.")
        self.stale = False
        return super().power_on()

    def tell(self, event: CardEvent) -> None:
        """Whoever listens hears it."""
        if self.listener is not None:
            self.listener(event)

    def _answer(self, command: bytes) -> bytes:
        if not self.present:
            raise CardAbsent("The card was taken out.")
        self.misused += self.stale
        if self.failures:
            failure = self.failures.pop()
            self.stale = isinstance(failure, CardWasReset)
            raise failure
        return command[SERIAL] + OK


class WholeBridge(RuleBasedStateMachine):
    """The model: `wanted` is the card that shall be in. It is in if it is present and answers."""

    @initialize(inserted=st.sampled_from([False, True, True, True]))
    def begin(self, inserted: bool) -> None:
        self.threads = threading.active_count()
        self.directory = TemporaryDirectory(prefix="vc-")
        path = Path(self.directory.name, "s")
        self.peer = ExactPeer(path)
        self.timers = Timers()
        self.watched = Watched(Endpoint.unix(str(path)), self.timers, Random(1), patience=QUICK)
        self.bridge = self.watched.bridge
        self.bridge.start()
        self.cards = [Card("a"), Card("b")]
        self.wanted: Card | None = None
        self.serial = 0
        self.faults = 0
        self.calls_due = 1
        if inserted:
            self.insert(0)
            self.settle()

    @rule(milliseconds=st.integers(1, 40))
    def a_moment_passes(self, milliseconds: int) -> None:
        """What comes next meets the threads somewhere else."""
        time.sleep(milliseconds / 1000)

    @rule(which=st.sampled_from([0, 1]))
    def insert(self, which: int) -> None:
        self.wanted = self.cards[which]
        self.bridge.insert(self.wanted)

    @rule()
    def eject(self) -> None:
        self.wanted = None
        self.bridge.eject()

    @rule(count=st.integers(1, APDU_QUEUE_MAX), hangs=st.sampled_from([False, False, True]))
    def guest_asks(self, count: int, hangs: bool) -> None:
        if hangs and self.wanted is not None:
            self.wanted.gate.clear()
        for _ in range(count):
            if len(self.peer.waiting) < APDU_QUEUE_MAX:
                self.serial += 1
                self.peer.ask(self.serial)

    @rule()
    def guest_waits_for_its_answers(self) -> None:
        wait_until(lambda: not self.peer.waiting, 5, "every command has its answer, or its error")

    @rule()
    def cards_answer_again(self) -> None:
        for card in self.cards:
            card.gate.set()

    @rule(
        which=st.sampled_from([0, 1]), error=st.sampled_from([CardError("It failed."), CardWasReset("It was reset.")])
    )
    def card_fails_once(self, which: int, error: CardError) -> None:
        self.cards[which].failures.append(error)

    @rule(which=st.sampled_from([0, 1]), told=st.booleans())
    def card_is_pulled(self, which: int, told: bool) -> None:
        """Heard of as an event, or with the next command alone."""
        self.cards[which].present = False
        if told:
            self.cards[which].tell(CardEvent.REMOVED)

    @rule(which=st.sampled_from([0, 1]))
    def card_is_put_back(self, which: int) -> None:
        card = self.cards[which]
        if not card.present:
            card.present = True
            card.tell(CardEvent.REMOVED)
            card.tell(CardEvent.INSERTED)

    @rule()
    def machine_goes_away(self) -> None:
        self._next_call_is_due()
        self.peer.hang_up()

    @precondition(lambda self: self.faults < FAULTS_MAX)
    @rule(rubbish=st.sampled_from(RUBBISH))
    def machine_breaks_the_protocol(self, rubbish: bytes) -> None:
        self.faults += 1
        try:
            self.peer.send_raw(rubbish)
        except OSError:
            return
        self._next_call_is_due()

    def _next_call_is_due(self) -> None:
        with self.peer._lock:
            if self.peer._link is not None:
                self.calls_due = self.peer.connections + 1

    @rule()
    def settle(self) -> None:
        """Nothing happens for a while: what must be, is."""
        self.cards_answer_again()
        for card in self.cards:
            card.failures.clear()
        wait_until(
            self._is_as_it_shall_be, 15, f"{self.wanted and self.wanted.atr!r} in, and not {self.watched.statuses[-3:]}"
        )

    def _is_as_it_shall_be(self) -> bool:
        if self.peer.connections < self.calls_due:
            return False
        if self.wanted is None or not self.wanted.present:
            if self.bridge.status.state is BridgeState.INSERTED:
                self.serial += 1
                self.peer.ask(self.serial)  # a card that was pulled without a word is found out by the next command
            return self.bridge.status.state is BridgeState.EMPTY and self.peer.atr is None
        return (
            self.bridge.status.state is BridgeState.INSERTED
            and self.peer.atr is not None
            and self.peer.atr[-1:] == self.wanted.atr[-1:]
            and not self.peer.waiting
        )

    @invariant()
    def no_answer_goes_to_another_command(self) -> None:
        assert self.peer.mixed == []

    @invariant()
    def qemu_lives_and_drops_nothing(self) -> None:
        assert not self.peer.fatal
        assert self.peer.dropped == 0
        assert self.peer.unasked <= self.peer.crossed

    @invariant()
    def no_guest_hangs(self) -> None:
        assert self.peer.lost == 0

    @invariant()
    def card_that_was_reset_is_powered_on_before_it_is_asked_again(self) -> None:
        assert not any(card.misused for card in self.cards)

    @invariant()
    def nobody_is_inside_a_card_twice(self) -> None:
        assert all(card.most_inside <= 1 for card in self.cards)

    @invariant()
    def no_fault_of_our_own(self) -> None:
        assert not any("virtcard made a mistake" in status.last_error for status in self.watched.statuses)

    def teardown(self) -> None:
        if not hasattr(self, "bridge"):
            return
        self.settle()
        self.bridge.stop()
        assert self.bridge.join(10)
        wait_until(lambda: not any(card.on for card in self.cards), 5, "every card is let go")
        assert self.peer.atr is None
        self.peer.close()
        self.timers.close()
        self.directory.cleanup()
        wait_until(lambda: threading.active_count() <= self.threads, 10, "the end of all threads")
        self.no_answer_goes_to_another_command()
        self.qemu_lives_and_drops_nothing()


WholeBridge.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
TestWholeBridge = WholeBridge.TestCase
