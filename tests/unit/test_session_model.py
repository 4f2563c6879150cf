"""A session and a model of QEMU, driven in any order: no APDU is left unanswered and none is answered twice."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from helpers.ccid import CcidModel
from helpers.sessions import OK, YUBIKEY_ATR
from virtcard import limits
from virtcard.bridge.session import (
    Effect,
    Ejected,
    Finished,
    Hung,
    Ready,
    Send,
    Session,
    SessionState,
    StartTimer,
    StopTimer,
    Timer,
    Transmit,
)
from virtcard.card.base import Transmission

FETCH = bytes.fromhex("00C0000000")
SLOT_TIMERS = (Timer.GAP, Timer.QUIET, Timer.EJECT, Timer.TRANSMIT)


class Bridge(RuleBasedStateMachine):
    """The runner, the card and the guest in one."""

    @initialize(
        unsolicited_init=st.booleans(), left=st.booleans(), begin=st.sampled_from(["new", "empty", *["inserted"] * 4])
    )
    def connect(self, unsolicited_init: bool, left: bool, begin: str) -> None:
        self.session = Session()
        self.model = CcidModel(unsolicited_init=unsolicited_init)
        if left:
            self.model.leave_unanswered(b"a command to a client that died")
        self.timers: set[Timer] = set()
        self.transmits: dict[int, bytes] = {}
        self.late: list[int] = []
        self.serial = 0
        self.powered = 0
        self.news: list[Effect] = []
        self.apply(self.session.start())
        self.settle(lambda: self.session.state != "empty" and begin != "new")
        if begin == "inserted":
            self.insert(Transmission.T0)
            self.settle(lambda: self.session.state != "inserted")

    @rule()
    def guest_sends(self) -> None:
        if len(self.model.pending) <= limits.APDU_QUEUE_MAX:
            self.serial += 1
            self.model.guest_sends(bytes((0x80, 0x01, 0, 0, 4)) + self.serial.to_bytes(4, "big"))

    @rule(le=st.integers(0, 255))
    def guest_fetches(self, le: int) -> None:
        if len(self.model.pending) <= limits.APDU_QUEUE_MAX:
            self.model.guest_sends(FETCH[:4] + bytes((le,)))

    @precondition(lambda self: self.model.outgoing)
    @rule(count=st.none() | st.integers(1, 40))
    def bytes_arrive(self, count: int | None) -> None:
        self.apply(self.session.feed(self.model.take(count)))

    @precondition(lambda self: self.session.state is SessionState.INSERTED)
    @rule(count=st.integers(1, limits.APDU_QUEUE_MAX))
    def guest_sends_many(self, count: int) -> None:
        for _ in range(count):
            self.guest_sends()
        self.apply(self.session.feed(self.model.take()))

    @precondition(lambda self: self.transmits)
    @rule(length=st.integers(0, 600), data=st.data())
    def card_answers(self, length: int, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.transmits)))
        self.apply(self.session.answer(ticket, self.card(self.transmits[ticket], length)))
        self.late.append(ticket)

    @precondition(lambda self: self.transmits)
    @rule(broken=st.sampled_from([b"", b"\x90"]), data=st.data())
    def card_fails(self, broken: bytes, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.transmits)))
        self.apply(self.session.answer(ticket, broken) if data.draw(st.booleans()) else self.session.fail(ticket))
        self.late.append(ticket)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def card_answers_late(self, data: st.DataObject) -> None:
        assert self.session.answer(data.draw(st.sampled_from(self.late)), OK) == []

    @precondition(lambda self: self.session.state is SessionState.EMPTY)
    @rule(transmission=st.sampled_from(list(Transmission)))
    def insert(self, transmission: Transmission) -> None:
        self.powered += 1
        self.apply(self.session.insert(YUBIKEY_ATR, transmission))

    @precondition(lambda self: len(self.news) % 3 == 0)
    @rule()
    def eject(self) -> None:
        self.apply(self.session.eject())

    @precondition(lambda self: self.timers.intersection(SLOT_TIMERS))
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        self.expire(data.draw(st.sampled_from(sorted(self.timers.intersection(SLOT_TIMERS)))))

    @precondition(lambda self: len(self.news) > 40)
    @rule()
    def close(self) -> None:
        self.apply(self.session.close())

    @invariant()
    def at_most_one_card_is_powered(self) -> None:
        assert self.powered in {0, 1}

    @invariant()
    def the_acknowledgement_timer_runs_while_one_is_awaited(self) -> None:
        awaiting = {"greeting", "clearing", "adding", "inserting", "withdrawing", "removing", "leaving"}
        assert (Timer.ACK in self.timers) is (self.session.state in awaiting)

    @invariant()
    def answers_reach_the_commands_that_they_belong_to(self) -> None:
        for answer in self.model.answers:
            if answer.response is not None and len(answer.response) > 6 and answer.command[:2] == b"\x80\x01":
                assert answer.response[:4] == answer.command[5:]

    def teardown(self) -> None:
        """Everything that is still on its way arrives; then nothing may be pending."""
        self.settle(lambda: self.model.outgoing or self.timers & {Timer.QUIET} or self.session.state == "waiting")
        if self.session.state is SessionState.FINISHED and Ready() not in self.news:
            return  # closed during the greeting: what a dead client left is for the next one
        for ticket, command in list(self.transmits.items()):
            self.apply(self.session.answer(ticket, self.card(command, 10)))
        while self.model.pending:
            assert self.transmits, "an APDU that nobody will answer"
            for ticket, command in list(self.transmits.items()):
                self.apply(self.session.answer(ticket, self.card(command, 10)))
        assert self.model.dropped <= self.model.flushed + 1  # the greeting's VSC_Error, when nothing was left
        self.apply(self.session.close())
        self.settle(lambda: self.session.state is not SessionState.FINISHED)
        assert self.powered == 0
        assert self.model.atr == b""

    def settle(self, unfinished: Callable[[], object]) -> None:
        while unfinished():
            self.apply(self.session.feed(self.model.take()))
            for timer in (Timer.GAP, Timer.QUIET):
                if timer in self.timers:
                    self.expire(timer)

    def card(self, command: bytes, length: int) -> bytes:
        """An answer that begins with the serial number in the command."""
        return (command[5:9] + bytes(length))[: max(4, length)] + OK

    def expire(self, timer: Timer) -> None:
        self.timers.remove(timer)
        self.apply(self.session.expired(timer))

    def apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.news.append(effect)
            match effect:
                case Send(data):
                    self.model.receive(data)
                case Transmit(ticket, command):
                    assert ticket not in self.late
                    self.transmits = {ticket: command}
                case StartTimer(timer, _):
                    self.timers.add(timer)
                case StopTimer(Timer.TRANSMIT):
                    self.late += self.transmits
                    self.transmits = {}
                    self.timers.discard(Timer.TRANSMIT)
                case StopTimer(timer):
                    self.timers.discard(timer)
                case Ejected():
                    self.powered -= 1
                case Hung(ticket):
                    assert ticket in self.late
                case Finished():
                    assert not self.powered
                case Ready():
                    assert self.news.count(effect) == 1
                case _:
                    pass


Bridge.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestBridge = Bridge.TestCase
