"""The half of a session that talks about the reader and its card: one control message at a time.

`states.TRANSITIONS` says where an event leads; here stands what is done on arriving.
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
    Inserted,
    Ready,
    Refused,
    Send,
    StartTimer,
    StopTimer,
    Timer,
)
from virtcard.bridge.exchange import Exchange, failure
from virtcard.bridge.states import IN_FLIGHT, TRANSITIONS, Event, SessionState
from virtcard.card.base import Transmission
from virtcard.errors import LocalError
from virtcard.wire.vscard import FIRST_READER_ID, UNDEFINED_READER_ID, Init, MessageType, encode

QUIET: Final = StartTimer(Timer.QUIET, limits.EJECT_QUIET)
_ACK: Final = StartTimer(Timer.ACK, limits.ACK_PATIENCE)
_CHANGE_GAP: Final = StartTimer(Timer.GAP, limits.CHANGE_GAP)
_LOST_ANSWER_GAP: Final = StartTimer(Timer.GAP, limits.LOST_ANSWER_GAP)
_EJECT: Final = StartTimer(Timer.EJECT, limits.EJECT_PATIENCE)


class Control:
    """The state of a session, and the messages that QEMU acknowledges."""

    def __init__(self, first_gap: float) -> None:
        self.state = SessionState.NEW
        self.reader_id = FIRST_READER_ID
        self.closing = False
        self._tickets = count(1)
        self._first_gap = StartTimer(Timer.GAP, first_gap)
        self._in_gap = False
        self._lost_answer = False
        self._atr = b""
        self._transmission = Transmission.T0
        self.exchange = Exchange(self._transmission, self._tickets, self.reader_id)

    def allows(self, event: Event) -> bool:
        """The table knows a way."""
        return (self.state, event) in TRANSITIONS

    def step(self, event: Event) -> list[Effect]:
        """Go where the table says; LocalError when it says nothing."""
        if not self.allows(event):
            raise LocalError(f"{event} in state {self.state}")
        before, self.state = self.state, TRANSITIONS[self.state, event]
        if before is self.state:
            return []
        effects = _ARRIVE[self.state](self, before)
        if before in IN_FLIGHT and self.state not in IN_FLIGHT:
            return [StopTimer(Timer.ACK), *effects]
        return effects

    def insert(self, atr: bytes, transmission: Transmission) -> list[Effect]:
        """Bring in a card that the guest shall see by this ATR."""
        self._atr, self._transmission = atr, transmission
        return self.step(Event.INSERT)

    def lost_answer(self) -> None:
        """An APDU came while CardRemove was on its way: QEMU forgets that the guest waits for an answer to it."""
        self._lost_answer = True

    def gap_over(self) -> list[Effect]:
        """The guest has seen the last card leave."""
        self._in_gap = False
        return self.step(Event.GAP_OVER) if self.allows(Event.GAP_OVER) else []

    def _control(self, kind: MessageType, payload: bytes = b"", reader_id: int | None = None) -> list[Effect]:
        identity = self.reader_id if reader_id is None else reader_id
        return [Send(encode(kind, payload, identity)), _ACK]

    def _start(self, gap: StartTimer) -> Effect:
        self._in_gap = True
        return gap

    def _greet(self, _before: SessionState) -> list[Effect]:
        return self._control(MessageType.INIT, Init().encode(), UNDEFINED_READER_ID)

    def _settle(self, _before: SessionState) -> list[Effect]:
        """ReaderRemove wipes an APDU that a dead client left unanswered, and the guest would wait for it in vain.

        dev-smartcard-reader.c, ccid_card_card_error: VSC_Error answers the oldest APDU, and none when there is none.
        """
        return [failure(self.reader_id), QUIET, _EJECT]

    def _clear_reader(self, before: SessionState) -> list[Effect]:
        return [StopTimer(Timer.QUIET), StopTimer(Timer.EJECT), *self._remove_reader(before)]

    def _remove_reader(self, _before: SessionState) -> list[Effect]:
        return self._control(MessageType.READER_REMOVE)

    def _add_reader(self, _before: SessionState) -> list[Effect]:
        return [self._start(self._first_gap), *self._control(MessageType.READER_ADD, reader_id=UNDEFINED_READER_ID)]

    def _empty(self, before: SessionState) -> list[Effect]:
        effects = list(_NEWS_OF_EMPTY.get(before, (Ejected(),)))
        if before is SessionState.REMOVING:
            effects.append(self._start(_LOST_ANSWER_GAP if self._lost_answer else _CHANGE_GAP))
            self._lost_answer = False
        return effects + self.step(Event.CLOSE) if self.closing else effects

    def _wait(self, _before: SessionState) -> list[Effect]:
        return [] if self._in_gap else self.step(Event.GAP_OVER)

    def _send_atr(self, _before: SessionState) -> list[Effect]:
        return self._control(MessageType.ATR, self._atr)

    def _inserted(self, _before: SessionState) -> list[Effect]:
        self.exchange = Exchange(self._transmission, self._tickets, self.reader_id)
        return [Inserted()]

    def _withdraw(self, _before: SessionState) -> list[Effect]:
        return []

    def _quieten(self, _before: SessionState) -> list[Effect]:
        return [*self.exchange.abandon(), QUIET, _EJECT]

    def _remove_card(self, _before: SessionState) -> list[Effect]:
        return [StopTimer(Timer.QUIET), StopTimer(Timer.EJECT), *self._control(MessageType.CARD_REMOVE)]

    def _finish(self, before: SessionState) -> list[Effect]:
        return [Ejected(), Finished()] if before in _STILL_IN else [Finished()]

    def _break(self, _before: SessionState) -> list[Effect]:
        self.exchange.abandon()
        return []


_STILL_IN: Final = frozenset({SessionState.WITHDRAWING, SessionState.REMOVING})
"""Given up here, the card was never acknowledged to be out."""

_NEWS_OF_EMPTY: Final[dict[SessionState, tuple[Effect, ...]]] = {
    SessionState.ADDING: (Ready(),),
    SessionState.INSERTING: (Refused(), Ejected()),
    SessionState.WITHDRAWING: (Refused(), Ejected()),
}
"""What the runner learns when the slot is empty, by the state before; elsewhere that the card is out."""

_ARRIVE: Final[dict[SessionState, Callable[[Control, SessionState], list[Effect]]]] = {
    SessionState.GREETING: Control._greet,
    SessionState.SETTLING: Control._settle,
    SessionState.CLEARING: Control._clear_reader,
    SessionState.ADDING: Control._add_reader,
    SessionState.EMPTY: Control._empty,
    SessionState.WAITING: Control._wait,
    SessionState.INSERTING: Control._send_atr,
    SessionState.INSERTED: Control._inserted,
    SessionState.WITHDRAWING: Control._withdraw,
    SessionState.EJECTING: Control._quieten,
    SessionState.REMOVING: Control._remove_card,
    SessionState.LEAVING: Control._remove_reader,
    SessionState.FINISHED: Control._finish,
    SessionState.BROKEN: Control._break,
}
"""What is done on arriving in a state, given the one before."""
