"""How one machine stands with a card that it shares, and every way from one state to another."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class LeaseState(StrEnum):
    """What the machine has of the card."""

    OFF = "off"
    """The card is not in."""
    NEW = "new"
    """It is in, and no command of the guest has had it: nothing can be lost."""
    HELD = "held"
    """The lease is ours, and the card is as the guest knows it: commands go to it."""
    UNTOLD = "untold"
    """The lease is ours, and what the guest had on the card is gone: its next command hears that."""
    AWAY = "away"
    """The lease was given up, and nobody was logged in."""
    LOGGED_OUT = "logged out"
    """The lease was given up, and a login with it."""
    CHANGED = "changed"
    """What the guest knows of the card is not true any more: only a fresh one will do."""
    SPOILT = "spoilt"
    """The card could not be reset at the end of a lease, and is without power: only a fresh one will do."""


class LeaseEvent(StrEnum):
    """What moves it."""

    POWERED_ON = "powered on"
    POWERED_OFF = "powered off"
    TAKEN = "taken"
    LOST = "lost"
    TOLD = "told"
    GIVEN_UP = "given up"
    GIVEN_UP_LOGIN = "given up with a login"
    CHANGE_SEEN = "change seen"
    END_FAILED = "end failed"


_S, _E = LeaseState, LeaseEvent

HOLDING: Final = frozenset({_S.HELD, _S.UNTOLD})
"""The lease is ours."""

FRESH_WANTED: Final = frozenset({_S.CHANGED, _S.SPOILT})
"""No command goes to the card before it was powered on."""

_WAYS: Final = {
    (_S.NEW, _E.TAKEN): _S.HELD,
    (_S.NEW, _E.CHANGE_SEEN): _S.CHANGED,
    (_S.NEW, _E.END_FAILED): _S.SPOILT,
    (_S.AWAY, _E.LOST): _S.UNTOLD,
    (_S.AWAY, _E.CHANGE_SEEN): _S.CHANGED,
    (_S.AWAY, _E.END_FAILED): _S.SPOILT,
    (_S.LOGGED_OUT, _E.LOST): _S.UNTOLD,
    (_S.LOGGED_OUT, _E.CHANGE_SEEN): _S.CHANGED,
    (_S.LOGGED_OUT, _E.END_FAILED): _S.SPOILT,
    # A card that is for one machine alone is reset within its lease.
    (_S.HELD, _E.LOST): _S.UNTOLD,
    (_S.HELD, _E.GIVEN_UP): _S.AWAY,
    (_S.HELD, _E.GIVEN_UP_LOGIN): _S.LOGGED_OUT,
    (_S.UNTOLD, _E.TOLD): _S.HELD,
    (_S.UNTOLD, _E.LOST): _S.UNTOLD,
    (_S.UNTOLD, _E.GIVEN_UP): _S.AWAY,
    (_S.UNTOLD, _E.GIVEN_UP_LOGIN): _S.LOGGED_OUT,
    # The card was to be given back, and could not be, when it was found changed.
    (_S.CHANGED, _E.END_FAILED): _S.SPOILT,
}

TRANSITIONS: Final = (
    _WAYS
    | {(state, _E.POWERED_ON): _S.NEW for state in _S if state not in HOLDING}
    | {(state, _E.POWERED_OFF): _S.OFF for state in _S}
)
"""The whole table: state and event to the next state. What is not in it does not happen."""
