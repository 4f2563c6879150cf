"""The states of a session and every way between them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class SessionState(StrEnum):
    """Where a session stands."""

    NEW = "new"
    """Nothing was sent."""
    GREETING = "greeting"
    """Our Init is out, QEMU's is awaited."""
    SETTLING = "settling"
    """What a dead client left unanswered gets VSC_Error, until there are no APDUs for a while."""
    CLEARING = "clearing"
    """ReaderRemove is out: it takes out what a dead client left in."""
    ADDING = "adding"
    """ReaderAdd is out."""
    EMPTY = "empty"
    """The reader is there, without a card."""
    WAITING = "waiting"
    """A card is to go in as soon as the guest must have seen the last one leave."""
    INSERTING = "inserting"
    """The ATR is out."""
    INSERTED = "inserted"
    """APDUs go to the card."""
    WITHDRAWING = "withdrawing"
    """The ATR is out, and the card is unwanted already."""
    EJECTING = "ejecting"
    """APDUs are answered with VSC_Error until there are none for a while."""
    REMOVING = "removing"
    """CardRemove is out."""
    LEAVING = "leaving"
    """The last ReaderRemove is out."""
    FINISHED = "finished"
    """The orderly end."""
    BROKEN = "broken"
    """The peer broke the protocol."""


class Event(StrEnum):
    """What moves a session."""

    START = "start"
    INIT = "init"
    ACK = "ack"
    REFUSAL = "refusal"
    INSERT = "insert"
    EJECT = "eject"
    HUNG = "hung"
    GAP_OVER = "gap over"
    QUIET = "quiet"
    CLOSE = "close"
    GIVE_UP = "give up"
    FAULT = "fault"


_S, _E = SessionState, Event

_WAYS: Final = {
    (_S.NEW, _E.START): _S.GREETING,
    (_S.NEW, _E.CLOSE): _S.FINISHED,
    (_S.GREETING, _E.INIT): _S.SETTLING,
    (_S.GREETING, _E.CLOSE): _S.FINISHED,
    # QEMU answers the Init of a client that came first with a second one.
    (_S.SETTLING, _E.INIT): _S.SETTLING,
    (_S.SETTLING, _E.QUIET): _S.CLEARING,
    (_S.SETTLING, _E.CLOSE): _S.FINISHED,
    (_S.CLEARING, _E.INIT): _S.CLEARING,
    (_S.CLEARING, _E.ACK): _S.ADDING,
    # spice-server refuses to remove a reader that was never added.
    (_S.CLEARING, _E.REFUSAL): _S.ADDING,
    (_S.CLEARING, _E.CLOSE): _S.FINISHED,
    (_S.ADDING, _E.ACK): _S.EMPTY,
    (_S.ADDING, _E.CLOSE): _S.FINISHED,
    (_S.EMPTY, _E.INSERT): _S.WAITING,
    (_S.EMPTY, _E.CLOSE): _S.LEAVING,
    (_S.WAITING, _E.GAP_OVER): _S.INSERTING,
    (_S.WAITING, _E.EJECT): _S.EMPTY,
    (_S.INSERTING, _E.ACK): _S.INSERTED,
    (_S.INSERTING, _E.REFUSAL): _S.EMPTY,
    (_S.INSERTING, _E.EJECT): _S.WITHDRAWING,
    (_S.WITHDRAWING, _E.ACK): _S.EJECTING,
    (_S.WITHDRAWING, _E.REFUSAL): _S.EMPTY,
    (_S.WITHDRAWING, _E.GIVE_UP): _S.FINISHED,
    (_S.INSERTED, _E.EJECT): _S.EJECTING,
    (_S.INSERTED, _E.HUNG): _S.EJECTING,
    (_S.EJECTING, _E.QUIET): _S.REMOVING,
    (_S.REMOVING, _E.ACK): _S.EMPTY,
    (_S.REMOVING, _E.GIVE_UP): _S.FINISHED,
    (_S.LEAVING, _E.ACK): _S.FINISHED,
    (_S.LEAVING, _E.REFUSAL): _S.FINISHED,
    (_S.LEAVING, _E.GIVE_UP): _S.FINISHED,
}

OVER: Final = frozenset({_S.FINISHED, _S.BROKEN})
"""Nothing happens any more."""

IN_FLIGHT: Final = frozenset(
    {_S.GREETING, _S.CLEARING, _S.ADDING, _S.INSERTING, _S.WITHDRAWING, _S.REMOVING, _S.LEAVING}
)
"""A control message is unanswered, so no other may be sent and the ACK timer runs."""

TRANSITIONS: Final = _WAYS | {(state, _E.FAULT): _S.BROKEN for state in _S if state not in OVER}
"""The whole table: state and event to the next state. What is not in it does not happen."""
