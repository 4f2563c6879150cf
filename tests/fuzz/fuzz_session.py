"""A session with a hostile QEMU: only PeerError comes out, and every APDU is answered once, in few bytes.

A command line of bytes drives the runner's side and the peer's side alike. The stream that the peer sends is counted
here a second time, by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fuzz.choices import Choices
from helpers.sessions import YUBIKEY_ATR
from virtcard import limits
from virtcard.bridge.effects import Effect, Hung, Send, StartTimer, StopTimer, Timer, Transmit
from virtcard.bridge.session import Session, SessionState
from virtcard.bridge.states import OVER
from virtcard.card.base import Transmission
from virtcard.errors import CardError, PeerError
from virtcard.wire.vscard import HEADER_BYTES, ErrorCode, Init, MessageType, encode, encode_error

_WITH_ANSWERS: Final = (MessageType.APDU, MessageType.ERROR)


class Drive:
    """The session, and what is known of it."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.session = Session()
        self.stream = bytearray()
        self.unanswered = 0
        self.timers: set[Timer] = set()
        self.tickets: list[int] = []
        self.at_the_card: int | None = None
        self.apply(self.session.start)

    def apply(self, call: Callable[[], list[Effect]], asked: int = 0) -> None:
        """Do it; `asked` APDUs came with it."""
        before = self.session.state
        try:
            effects = call()
        except PeerError:
            assert self.session.state is SessionState.BROKEN
            return
        if before in OVER:
            assert not effects
            return
        self._count(effects, asked, before)

    def _count(self, effects: list[Effect], asked: int, before: SessionState) -> None:
        assert len(effects) <= 16 + 4 * asked + 4 * self.unanswered
        self.unanswered += asked
        for effect in effects:
            self._note(effect)
        if before is SessionState.GREETING and self.session.state is SessionState.SETTLING:
            self.unanswered += 1  # what a dead client left unanswered is answered, too
        assert self.session.state in OVER or 0 <= self.unanswered <= self._unanswered_max()
        if self.session.state is SessionState.INSERTED:
            assert (self.unanswered > 0) is (self.at_the_card is not None), "the guest waits for nobody"

    def _unanswered_max(self) -> int:
        """Only a card that is in may keep the guest waiting."""
        return 1 + limits.APDU_QUEUE_MAX if self.session.state is SessionState.INSERTED else 0

    def _note(self, effect: Effect) -> None:
        match effect:
            case Send(data):
                kind = int.from_bytes(data[:4])
                assert len(data) == HEADER_BYTES + int.from_bytes(data[8:12])
                self.unanswered -= kind in _WITH_ANSWERS
                if kind == MessageType.APDU:
                    length = len(data) - HEADER_BYTES
                    assert limits.R_APDU_MIN <= length <= limits.R_APDU_MAX
                    assert length % 64 != 54
            case Transmit(ticket, command):
                assert ticket not in self.tickets
                assert len(command) <= limits.VSCARD_PAYLOAD_MAX
                self.tickets.append(ticket)
                self.at_the_card = ticket
            case StartTimer(timer, seconds):
                assert seconds > 0
                self.timers.add(timer)
            case StopTimer(timer):
                self.timers.discard(timer)
                if timer is Timer.TRANSMIT:
                    self.at_the_card = None
            case Hung(ticket):
                assert ticket == self.tickets[-1]
            case _:
                pass

    def feed(self, data: bytes) -> None:
        """Bytes of the peer."""
        self.stream += data
        self.apply(lambda: self.session.feed(data), self._apdus())

    def _apdus(self) -> int:
        """How many APDUs are complete now; they are taken off the stream."""
        found = 0
        while len(self.stream) >= HEADER_BYTES:
            end = HEADER_BYTES + int.from_bytes(self.stream[8:12])
            if len(self.stream) < end:
                break
            found += int.from_bytes(self.stream[:4]) == MessageType.APDU
            del self.stream[:end]
        return found

    def message(self) -> None:
        """A message of any type."""
        self.feed(encode(MessageType(self.choices.number() % 12), self.choices.block()[: limits.VSCARD_PAYLOAD_MAX]))

    def apdu(self) -> None:
        """An APDU of the guest."""
        self.feed(encode(MessageType.APDU, self.choices.block()[: limits.VSCARD_PAYLOAD_MAX]))

    def insert(self) -> None:
        """A card with this ATR, or a known one."""
        atr = self.choices.block()
        transmission = self.choices.one_of(list(Transmission))
        if self.session.state is SessionState.EMPTY:
            try:
                self.apply(lambda: self.session.insert(atr or YUBIKEY_ATR, transmission))
            except CardError:
                assert atr

    def expire(self) -> None:
        """A timer that runs out."""
        timer = self.choices.one_of(list(Timer))
        if timer in self.timers:
            self.timers.remove(timer)
            self.apply(lambda: self.session.expired(timer))

    def answer(self) -> None:
        """The card's answer to one of the last commands, or to none."""
        ticket, response = self._ticket(), self.choices.block()
        self.apply(lambda: self.session.answer(ticket, response))

    def fail(self) -> None:
        """The card has no answer."""
        ticket = self._ticket()
        self.apply(lambda: self.session.fail(ticket))

    def _ticket(self) -> int:
        """One that the card is done with now, or was before."""
        back = self.choices.number()
        ticket = self.tickets[-1 - back] if back < len(self.tickets) else back
        if ticket == self.at_the_card:
            self.at_the_card = None
        return ticket


_DEEDS: Final[tuple[Callable[[Drive], None], ...]] = (
    lambda drive: drive.feed(drive.choices.block()),
    lambda drive: drive.feed(encode_error(ErrorCode.SUCCESS)),
    lambda drive: drive.feed(encode_error(ErrorCode.GENERAL_ERROR)),
    lambda drive: drive.feed(encode(MessageType.INIT, Init().encode())),
    Drive.message,
    Drive.apdu,
    Drive.insert,
    Drive.expire,
    Drive.answer,
    Drive.fail,
    lambda drive: drive.apply(drive.session.eject),
    lambda drive: drive.apply(drive.session.close),
)


def check(data: bytes) -> None:
    """One deed after another."""
    choices = Choices(data)
    drive = Drive(choices)
    while choices.left:
        choices.one_of(_DEEDS)(drive)
