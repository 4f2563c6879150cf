"""The APDUs between a guest and the card that is in: every one is answered exactly once, in order.

usb-ccid keeps a queue of 128 APDUs that wait for an answer; the 129th ends QEMU with an assertion. An answer too many
goes to the wrong APDU. So this file is where APDUs are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from virtcard import limits
from virtcard.bridge.effects import Effect, Send, StartTimer, StopTimer, Timer, Transmit
from virtcard.bridge.tpdu import Give, TpduAdapter
from virtcard.card.base import Transmission
from virtcard.errors import LocalError
from virtcard.wire.vscard import ErrorCode, MessageType, encode, encode_error

_START: Final = StartTimer(Timer.TRANSMIT, limits.TRANSMIT_PATIENCE)
_STOP: Final = StopTimer(Timer.TRANSMIT)


def failure(reader_id: int) -> Send:
    """The answer to an APDU that has none: the guest's SCardTransmit fails at once and the slot stays usable."""
    return Send(encode_error(ErrorCode.GENERAL_ERROR, reader_id))


class Exchange:
    """One card from insert to eject. `tickets` never repeats one, so that an answer to an earlier card is nobody's."""

    def __init__(self, transmission: Transmission, tickets: Iterator[int], reader_id: int) -> None:
        self._adapter = TpduAdapter(transmission)
        self._tickets = tickets
        self._reader_id = reader_id
        self._waiting: list[bytes] = []  # never long, and a deque takes ten times the memory
        self.ticket: int | None = None
        """What the card works on now."""

    @property
    def full(self) -> bool:
        """No further APDU may come before one is answered."""
        return len(self._waiting) >= limits.APDU_QUEUE_MAX

    def command(self, untrusted_command: bytes) -> list[Effect]:
        """An APDU of the guest; it waits while the card has another."""
        if self.ticket is None:
            return self._begin(untrusted_command)
        if self.full:
            raise LocalError("an APDU for a full queue")
        self._waiting.append(untrusted_command)
        return []

    def answer(self, ticket: int, response: bytes) -> list[Effect]:
        """The card's answer; nothing when it is late, VSC_Error when it cannot be one."""
        if ticket != self.ticket:
            return []
        if not limits.R_APDU_MIN <= len(response) <= limits.CARD_ANSWER_MAX:
            return self.fail(ticket)
        step = self._adapter.answer(response)
        if isinstance(step, Give):
            return self._finish(self._message(step))
        return [self._transmit(step.command, goes_on=True)]

    def fail(self, ticket: int) -> list[Effect]:
        """The card has no answer."""
        if ticket != self.ticket:
            return []
        self._adapter.drop()
        return self._finish(failure(self._reader_id))

    def abandon(self) -> list[Effect]:
        """VSC_Error for everything unanswered."""
        unanswered = len(self._waiting) + (self.ticket is not None)
        self.ticket = None
        self._waiting.clear()
        effects: list[Effect] = [failure(self._reader_id)] * unanswered
        return [*effects, _STOP] if effects else effects

    def _begin(self, untrusted_command: bytes) -> list[Effect]:
        step = self._adapter.command(untrusted_command)
        if isinstance(step, Give):
            return [self._message(step)]
        return [_START, self._transmit(step.command)]

    def _finish(self, answer: Send) -> list[Effect]:
        self.ticket = None
        effects: list[Effect] = [answer, _STOP]
        while self._waiting and self.ticket is None:
            effects += self._begin(self._waiting.pop(0))
        return effects

    def _transmit(self, command: bytes, *, goes_on: bool = False) -> Transmit:
        self.ticket = next(self._tickets)
        return Transmit(self.ticket, command, goes_on)

    def _message(self, step: Give) -> Send:
        return Send(encode(MessageType.APDU, step.response, self._reader_id))
