"""One VSCard connection, sans-IO: bytes and decisions in, effects out. No socket, clock, thread or log in here.

The states stand in `states`, what is done on the way between them in `control`, the counting of APDUs in `exchange`,
what a session wants done in `effects`. A method that raises PeerError leaves the session broken and the socket is to be
closed; effects of the same call are lost, which matters to nobody then. Once a session is over its methods do
nothing, so that late threads need no care.
"""

from __future__ import annotations

from virtcard import limits
from virtcard.bridge.control import QUIET, Control
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
from virtcard.bridge.exchange import failure
from virtcard.bridge.states import IN_FLIGHT, OVER, Event, SessionState
from virtcard.card.base import Transmission
from virtcard.errors import CardError, LocalError, PeerError, PeerStuck
from virtcard.wire.atr import t0_atr
from virtcard.wire.malformed import Malformed
from virtcard.wire.vscard import Decoder, ErrorCode, Init, Message, MessageType, parse_error

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


class Session:
    """From the first byte of a connection to the last. `first_gap` is that between the greeting and the first ATR."""

    def __init__(self, first_gap: float = limits.INSERT_GAP) -> None:
        self._decoder = Decoder()
        self._control = Control(first_gap)
        self._meaningless = 0
        self._strays = 0

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._control.state

    def start(self) -> list[Effect]:
        """The transport is connected: begin the greeting."""
        return self._control.step(Event.START)

    def feed(self, data: bytes) -> list[Effect]:
        """Bytes from QEMU, cut anywhere. PeerError when they break the protocol."""
        control = self._control
        if control.state in OVER:
            return []
        effects: list[Effect] = []
        try:
            for message in self._decoder.feed(data):
                effects += self._receive(message)
                if control.state in OVER:
                    break
        except Malformed as fault:
            raise self._fault(f"QEMU broke the VSCard protocol: {fault}.") from fault
        return effects

    def insert(self, atr: bytes, transmission: Transmission) -> list[Effect]:
        """Put in the card with this ATR of its own; the guest gets the T=0 rewrite.

        Only in EMPTY, LocalError otherwise; it waits out the gap by itself. Inserted follows, or Refused. CardError
        when the ATR is none.
        """
        if self.state is not SessionState.EMPTY:
            raise LocalError(f"insert in state {self.state}")
        try:
            rewritten = t0_atr(atr)
        except Malformed as fault:
            raise CardError("The card's answer to reset is not valid.", hint="Try it in another reader.") from fault
        return self._control.insert(rewritten, transmission)

    def eject(self) -> list[Effect]:
        """Take the card out, in peace; Ejected follows. Nothing happens without a card or when it is on its way out."""
        if self.state is SessionState.NEW:
            raise LocalError("eject before start")
        return self._control.step(Event.EJECT) if self._control.allows(Event.EJECT) else []

    def answer(self, ticket: int, response: bytes) -> list[Effect]:
        """The card's answer to a Transmit. A late one is dropped; what can be no answer counts as `fail`."""
        return self._control.exchange.answer(ticket, response)

    def fail(self, ticket: int) -> list[Effect]:
        """The card could not answer a Transmit: VSC_Error to the guest. A late one is dropped."""
        return self._control.exchange.fail(ticket)

    def close(self) -> list[Effect]:
        """End in order: eject, CardRemove, ReaderRemove, then Finished. A second time does nothing."""
        if self._control.closing or self.state in OVER:
            return []
        self._control.closing = True
        return self._control.step(Event.CLOSE) if self._control.allows(Event.CLOSE) else self.eject()

    def expired(self, timer: Timer) -> list[Effect]:
        """A timer ran out (one that was stopped or started over does not). PeerError when QEMU stays silent."""
        if self.state in OVER:
            return []
        match timer:
            case Timer.ACK:
                return self._ack_expired()
            case Timer.GAP:
                return self._control.gap_over()
            case Timer.QUIET | Timer.EJECT:
                return self._control.step(Event.QUIET) if self._control.allows(Event.QUIET) else []
            case Timer.TRANSMIT:
                return self._transmit_expired()

    def _ack_expired(self) -> list[Effect]:
        if self.state not in IN_FLIGHT:
            return []
        if self._control.allows(Event.GIVE_UP) and self._control.closing:
            return self._control.step(Event.GIVE_UP)
        if self.state is SessionState.GREETING:
            raise self._stuck(
                "QEMU does not answer: the chardev is busy with another client, or its input is stuck.",
                hint="Look for another virtcardd, `virtcard connect` or vscclient on the same socket.",
            )
        raise self._fault("QEMU did not acknowledge a VSCard message.", hint="The virtual machine may be stuck.")

    def _transmit_expired(self) -> list[Effect]:
        ticket = self._control.exchange.ticket
        return [] if ticket is None else [*self._control.step(Event.HUNG), Hung(ticket)]

    def _receive(self, message: Message) -> list[Effect]:
        """One message. A few of types that we do not know, or that only we send, are passed over."""
        match message.type:
            case MessageType.APDU:
                return self._on_apdu(message.payload)
            case MessageType.ERROR:
                return self._on_error(message)
            case MessageType.INIT:
                return self._on_init(message.payload)
            case _:
                self._meaningless += 1
                if self._meaningless > limits.MEANINGLESS_MAX:
                    raise self._fault("QEMU goes on sending messages that mean nothing.")
                return []

    def _on_apdu(self, untrusted_command: bytes) -> list[Effect]:
        """Only a card that is in may see it, but an answer it gets in every state."""
        control = self._control
        if control.state is SessionState.INSERTED:
            if control.exchange.full:
                raise self._fault("QEMU sends APDUs without waiting for their answers.")
            self._strays = 0
            return control.exchange.command(untrusted_command)
        if self.state is SessionState.REMOVING:
            control.lost_answer()
        answer = failure(control.reader_id)
        if control.allows(Event.QUIET):
            return [answer, QUIET]
        self._strays += 1
        if self._strays > limits.STRAY_APDU_MAX:
            raise self._fault("QEMU goes on sending APDUs to an empty reader.")
        return [answer]

    def _on_error(self, message: Message) -> list[Effect]:
        """QEMU acknowledges each control message with an Error, which says SUCCESS or not."""
        event = Event.ACK if parse_error(message.payload) == ErrorCode.SUCCESS else Event.REFUSAL
        if not self._control.allows(event):
            raise self._stuck(
                "QEMU refused a VSCard message or acknowledged one that we did not send.",
                hint="Its input may hold the rest of a dead client's message: QMP chardev-send-break clears it.",
            )
        if self.state is SessionState.ADDING:
            self._control.reader_id = message.reader_id
        return self._control.step(event)

    def _on_init(self, payload: bytes) -> list[Effect]:
        """One Init or two greet us; a later one means that the device was unplugged and plugged in again."""
        Init.parse(payload)
        if not self._control.allows(Event.INIT):
            raise self._fault("QEMU replaced the virtual reader, so the conversation starts over.")
        return self._control.step(Event.INIT)

    def _fault(self, sentence: str, *, hint: str = "") -> PeerError:
        self._control.step(Event.FAULT)
        return PeerError(sentence, hint=hint)

    def _stuck(self, sentence: str, *, hint: str) -> PeerStuck:
        self._control.step(Event.FAULT)
        return PeerStuck(sentence, hint=hint)
