"""What stands between a bridge and its card. Each wrapper is a Card around a Card; here is the order of all of them.

bridge -> Admission -> Audit -> Selection -> card
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from virtcard.card.admission import Admission
from virtcard.card.audit import Audit, Ledger
from virtcard.card.base import Card
from virtcard.card.selection import Selection
from virtcard.policy.decide import Decision, Request


@dataclass(frozen=True, slots=True)
class Fitting:
    """A card that goes into a virtual reader, and all that its wrappers may want to know.

    `decision.rule` has what the policy says of commands, PINs, sharing and so on. When that changes, the card comes
    here again in a new Fitting, and goes in anew."""

    card: Card
    """As its source opened it: `request.reader` is the host reader that it is in, "" for others."""
    slot: int
    """Of which virtual reader of the domain `request.uuid`."""
    request: Request
    decision: Decision
    ledger: Ledger
    """Of the bridge: it goes on counting from card to card."""
    admit: Callable[[bytes], None]
    """Given the ATR of the card that was found, raises CardError when the decision does not hold for it."""


class Wardrobe:
    """One for the daemon: what cards share across bridges has its place here."""

    def dress(self, fitting: Fitting) -> Card:
        """The card as the bridge gets it. The ledger counts what the guest asks, and not what Selection replays."""
        card: Card = Selection(fitting.card)
        card = Audit(card, fitting.ledger)
        return Admission(card, fitting.admit)
