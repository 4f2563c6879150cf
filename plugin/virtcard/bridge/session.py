"""One VSCard connection, sans-IO: bytes and decisions in, effects out. No socket, clock, thread or log in here.

The states are in `states`, what a session wants done in `effects`, the counting of APDUs in `exchange`. A method that
raises PeerError leaves the session BROKEN, and the socket is to be closed; effects of the same call are lost, which
matters to nobody then. Once a session is over every method answers nothing, so that late threads need no care.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from virtcard import limits
from virtcard.bridge.effects import (
    Effect,
    Ejected,
    Finished,
    Hung,
    Inserted,
    Ready,
    Refused,
    Send,
    StartTimer,
    StopTimer,
    Timer,
    Transmit,
)
from virtcard.bridge.exchange import Exchange, failure
from virtcard.bridge.states import IN_FLIGHT, OVER, TRANSITIONS, Event, SessionState
from virtcard.card.base import Transmission
from virtcard.errors import CardError, LocalError, PeerError
from virtcard.wire.atr import t0_atr
from virtcard.wire.malformed import Malformed
from virtcard.wire.vscard import (
    FIRST_READER_ID,
    UNDEFINED_READER_ID,
    Decoder,
    ErrorCode,
    Init,
    Message,
    MessageType,
    encode,
    parse_error,
)

__all__ = [
    "Effect",
    "Ejected",
    "Finished",
    "Hung",
    "Inserted",
    "Ready",
    "Refused",
    "Send",
    "Session",
    "SessionState",
    "StartTimer",
    "StopTimer",
    "Timer",
    "Transmit",
]

_ACK: Final = StartTimer(Timer.ACK, limits.ACK_PATIENCE)
_GAP: Final = StartTimer(Timer.GAP, limits.INSERT_GAP)
_QUIET: Final = StartTimer(Timer.QUIET, limits.EJECT_QUIET)
_EJECT: Final = StartTimer(Timer.EJECT, limits.EJECT_PATIENCE)


class Session:
    """From the first byte of a connection to the last."""

    def __init__(self) -> None:
        self.state = SessionState.NEW
        self._decoder = Decoder()
        self._tickets = count(1)
        self._reader_id = FIRST_READER_ID
        self._atr = b""
        self._exchange = Exchange(Transmission.T0, self._tickets, self._reader_id)
        self._transmission = Transmission.T0
        self._in_gap = False
        self._closing = False

    def start(self) -> list[Effect]:
        """The transport is connected: begin the greeting."""
        return self._step(Event.START)

    def feed(self, data: bytes) -> list[Effect]:
        """Bytes from QEMU, cut anywhere. PeerError when they break the protocol."""
        if self.state in OVER:
            return []
        effects: list[Effect] = []
        try:
            for message in self._decoder.feed(data):
                effects += self._receive(message)
        except Malformed as fault:
            raise self._fault(f"QEMU broke the VSCard protocol: {fault}.") from fault
        except PeerError:
            self._break()
            raise
        return effects

    def insert(self, atr: bytes, transmission: Transmission) -> list[Effect]:
        """Put in the card with this ATR of its own; the guest gets the T=0 rewrite.

        Only in EMPTY, LocalError otherwise. It waits out the gap by itself. CardError when the ATR is none.
        """
        if self.state is not SessionState.EMPTY:
            raise LocalError(f"insert in state {self.state}")
        try:
            self._atr = t0_atr(atr)
        except Malformed as fault:
            raise CardError(
                "The card's answer to reset is not valid.", hint="Take it out and put it in again."
            ) from fault
        self._transmission = transmission
        return self._step(Event.INSERT)

    def eject(self) -> list[Effect]:
        """Take the card out, in peace. Does nothing where there is none or it is on its way out."""
        if self.state is SessionState.NEW:
            raise LocalError("eject before start")
        return self._step(Event.EJECT) if (self.state, Event.EJECT) in TRANSITIONS else []

    def answer(self, ticket: int, response: bytes) -> list[Effect]:
        """The card's answer to a Transmit. A late one is dropped; what is no answer counts as `fail`."""
        return self._exchange.answer(ticket, response)

    def fail(self, ticket: int) -> list[Effect]:
        """The card could not answer a Transmit: VSC_Error to the guest. A late one is dropped."""
        return self._exchange.fail(ticket)

    def close(self) -> list[Effect]:
        """End in order: eject, CardRemove, ReaderRemove, Finished. Again does nothing."""
        if self._closing or self.state in OVER:
            return []
        self._closing = True
        if (self.state, Event.CLOSE) in TRANSITIONS:
            return self._step(Event.CLOSE)
        return self.eject()

    def expired(self, timer: Timer) -> list[Effect]:
        """A timer ran out. PeerError when QEMU did not acknowledge in time; nothing when it no longer matters."""
        if self.state in OVER:
            return []
        return _EXPIRED[timer](self)

    def _ack_expired(self) -> list[Effect]:
        if self.state not in IN_FLIGHT:
            return []
        if self._closing:
            return self._step(Event.GIVE_UP)
        if self.state is SessionState.GREETING:
            raise self._fault(
                "QEMU does not answer: the chardev is busy with another client.",
                hint="Look for another virtcardd, `virtcard connect` or vscclient on the same socket.",
            )
        raise self._fault(
            "QEMU did not acknowledge a VSCard message in time.", hint="The virtual machine may be stuck."
        )

    def _gap_expired(self) -> list[Effect]:
        self._in_gap = False
        return self._step(Event.GAP_OVER) if self.state is SessionState.WAITING else []

    def _ceremony_expired(self) -> list[Effect]:
        return self._step(Event.QUIET) if self.state is SessionState.EJECTING else []

    def _transmit_expired(self) -> list[Effect]:
        ticket = self._exchange.ticket
        return [] if ticket is None else [*self._step(Event.HUNG), Hung(ticket)]

    def _receive(self, message: Message) -> list[Effect]:
        if message.type is MessageType.APDU:
            return self._on_apdu(message.payload)
        if message.type is MessageType.ERROR:
            return self._on_error(message)
        if message.type is MessageType.INIT:
            return self._on_init(message.payload)
        return []

    def _on_apdu(self, untrusted_command: bytes) -> list[Effect]:
        if self.state is SessionState.INSERTED:
            return self._exchange.command(untrusted_command)
        if self.state in OVER:
            return []
        answer = failure(self._reader_id)
        return [answer, _QUIET] if self.state is SessionState.EJECTING else [answer]

    def _on_error(self, message: Message) -> list[Effect]:
        """QEMU acknowledges each control message with an Error, which says SUCCESS or not."""
        event = Event.ACK if parse_error(message.payload) == ErrorCode.SUCCESS else Event.REFUSAL
        if (self.state, event) not in TRANSITIONS:
            raise self._fault(
                "QEMU refused a VSCard message or acknowledged one that we did not send.",
                hint="Its input may hold the rest of a dead client's message: QMP chardev-send-break clears it.",
            )
        if self.state is SessionState.ADDING:
            self._reader_id = message.reader_id
        return self._step(event)

    def _on_init(self, payload: bytes) -> list[Effect]:
        """One Init or two greet us; a later one means that the device was unplugged and plugged in again."""
        Init.parse(payload)
        if (self.state, Event.INIT) not in TRANSITIONS:
            raise self._fault("QEMU replaced the virtual reader, so the conversation starts over.")
        return self._step(Event.INIT)

    def _step(self, event: Event) -> list[Effect]:
        if (self.state, event) not in TRANSITIONS:
            raise LocalError(f"{event} in state {self.state}")
        before, self.state = self.state, TRANSITIONS[self.state, event]
        if before is self.state:
            return []
        effects = _ENTER[self.state](self, before)
        if before in IN_FLIGHT and self.state not in IN_FLIGHT:
            return [StopTimer(Timer.ACK), *effects]
        return effects

    def _fault(self, sentence: str, *, hint: str = "") -> PeerError:
        self._break()
        return PeerError(sentence, hint=hint)

    def _break(self) -> None:
        """Nobody is owed an answer any more."""
        self.state = TRANSITIONS.get((self.state, Event.FAULT), self.state)
        self._exchange.abandon()

    def _control(self, message_type: MessageType, payload: bytes = b"", reader_id: int | None = None) -> list[Effect]:
        """A message that QEMU acknowledges: the next one waits for that."""
        identity = self._reader_id if reader_id is None else reader_id
        return [Send(encode(message_type, payload, identity)), _ACK]

    def _greet(self, _before: SessionState) -> list[Effect]:
        return self._control(MessageType.INIT, Init().encode(), UNDEFINED_READER_ID)

    def _remove_reader(self, _before: SessionState) -> list[Effect]:
        return self._control(MessageType.READER_REMOVE)

    def _add_reader(self, _before: SessionState) -> list[Effect]:
        return [*self._start_gap(), *self._control(MessageType.READER_ADD, reader_id=UNDEFINED_READER_ID)]

    def _start_gap(self) -> list[Effect]:
        self._in_gap = True
        return [_GAP]

    def _empty(self, before: SessionState) -> list[Effect]:
        effects = list(_NEWS_OF_EMPTY.get(before, (Ejected(),)))
        if before is SessionState.REMOVING:
            effects += self._start_gap()
        return effects + self._step(Event.CLOSE) if self._closing else effects

    def _wait(self, _before: SessionState) -> list[Effect]:
        return [] if self._in_gap else self._step(Event.GAP_OVER)

    def _send_atr(self, _before: SessionState) -> list[Effect]:
        return self._control(MessageType.ATR, self._atr)

    def _inserted(self, _before: SessionState) -> list[Effect]:
        self._exchange = Exchange(self._transmission, self._tickets, self._reader_id)
        return [Inserted()]

    def _withdraw(self, _before: SessionState) -> list[Effect]:
        return []

    def _quieten(self, _before: SessionState) -> list[Effect]:
        return [*self._exchange.abandon(), _QUIET, _EJECT]

    def _remove_card(self, _before: SessionState) -> list[Effect]:
        return [StopTimer(Timer.QUIET), StopTimer(Timer.EJECT), *self._control(MessageType.CARD_REMOVE)]

    def _finish(self, _before: SessionState) -> list[Effect]:
        return [Finished()]


_NEWS_OF_EMPTY: Final[dict[SessionState, tuple[Effect, ...]]] = {
    SessionState.ADDING: (Ready(),),
    SessionState.INSERTING: (Refused(), Ejected()),
    SessionState.WITHDRAWING: (Refused(), Ejected()),
}
"""What the runner learns when the slot is empty, by the state before; elsewhere that the card is out."""

_ENTER: Final[dict[SessionState, Callable[[Session, SessionState], list[Effect]]]] = {
    SessionState.GREETING: Session._greet,
    SessionState.CLEARING: Session._remove_reader,
    SessionState.ADDING: Session._add_reader,
    SessionState.EMPTY: Session._empty,
    SessionState.WAITING: Session._wait,
    SessionState.INSERTING: Session._send_atr,
    SessionState.INSERTED: Session._inserted,
    SessionState.WITHDRAWING: Session._withdraw,
    SessionState.EJECTING: Session._quieten,
    SessionState.REMOVING: Session._remove_card,
    SessionState.LEAVING: Session._remove_reader,
    SessionState.FINISHED: Session._finish,
}
"""What is done on entering a state."""

_EXPIRED: Final[dict[Timer, Callable[[Session], list[Effect]]]] = {
    Timer.ACK: Session._ack_expired,
    Timer.GAP: Session._gap_expired,
    Timer.QUIET: Session._ceremony_expired,
    Timer.EJECT: Session._ceremony_expired,
    Timer.TRANSMIT: Session._transmit_expired,
}
