"""What stands between a bridge and its card. Each wrapper is a Card around a Card; here is the order of all of them.

bridge -> Admission -> Guard -> Audit -> Selection -> Leased, or LogoutByReset around another card and its Tenant
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

from virtcard.card.admission import Admission
from virtcard.card.audit import Audit, Ledger
from virtcard.card.base import Card
from virtcard.card.guard.guard import Guard
from virtcard.card.guard.ledger import PinLedgers
from virtcard.card.guard.operations import Operation
from virtcard.card.guard.pins import PinGuard
from virtcard.card.guard.profile import Profile, compile_profile
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.rules import LeaseRules
from virtcard.card.logout import LogoutByReset
from virtcard.card.selection import Selection
from virtcard.policy.decide import Decision, Request
from virtcard.policy.model import AskFor, Commands, Handover, HostLogin, Rule, Sharing

PROFILES_KEPT = 64
"""Compiled command tables; a policy has a few."""

OPERATIONS = {AskFor.PIN: Operation.PIN, AskFor.SIGN: Operation.SIGN, AskFor.DECRYPT: Operation.DECRYPT}
"""What a person may be asked for while the card is in, in the guard's words."""
_ASKED = {operation: word for word, operation in OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class Fitting:
    """A card that goes into a virtual reader, and all that its wrappers may want to know.

    `decision.rule` has what the policy says of commands, PINs, sharing and so on. When that changes, the card comes
    here again in a new Fitting, and goes in anew."""

    card: Card
    """As its source opened it; one that is in no reader as a `card.tenant.Tenant`."""
    slot: int
    """Of which virtual reader of the domain."""
    request: Callable[[], Request]
    """What was asked for, on the event loop with the ATR of the card that is in the host reader now."""
    decision: Decision
    rule: Callable[[], Rule]
    """What the policy says now, on the event loop: it may ask for less than the decision."""
    ledger: Ledger
    """Of the bridge: it goes on counting from card to card, and hears what the guard stops."""
    admit: Callable[[bytes], None]
    """Given the ATR of the card that was found, raises CardError when the decision does not hold for it."""
    before: Card | None = None
    """What is in the virtual reader still, and goes out for this one."""


@dataclass(frozen=True, slots=True)
class Dressed:
    """A card as the bridge gets it."""

    card: Card
    logout: Callable[[], None]
    """Ends the login to it, from any thread, without waiting."""


AskInCommand = Callable[[Fitting, AskFor], bool]
"""Asks a person, in the bridge's thread and in the middle of a command: yes or no; NotSent when nobody waits for it."""


class Wardrobe:
    """One for the daemon: what cards share across bridges has its place here, as the counters of PIN tries."""

    def __init__(self, ask: AskInCommand) -> None:
        self._ask = ask
        self._pins = PinLedgers()

    def dress(self, fitting: Fitting) -> Dressed:
        """InvalidArgument when the rule's table of commands cannot be meant, Busy when others leave no room for it.

        The ledger counts what the guest asks, and neither what Selection replays nor what the guard asks."""
        bare = _with_logout(fitting)
        selection = Selection(bare)
        keep = bare.kept if isinstance(bare, Leased) else nullcontext
        pins = PinGuard(self._pins, fitting.request().card, fitting.decision.rule.pin_reserve, keep, selection.transmit)
        guard = self._guarded(Audit(selection, fitting.ledger), fitting, pins)
        return Dressed(Admission(guard, fitting.admit), bare.logout)

    def _guarded(self, card: Card, fitting: Fitting, pins: PinGuard) -> Guard:
        rule = fitting.decision.rule
        return Guard(
            card,
            _profile(rule.commands),
            pins=pins,
            consent=lambda operation: self._ask(fitting, _ASKED[operation]),
            ask_for=_asked_for(rule),
            observer=fitting.ledger,
        )


def _with_logout(fitting: Fitting) -> Leased | LogoutByReset:
    card = fitting.card
    if not isinstance(card, Leased):
        return LogoutByReset(card)
    card.agree(_lease_rules(fitting.decision.rule), fitting.before)
    return card


def _lease_rules(rule: Rule) -> LeaseRules:
    return LeaseRules(
        exclusive=rule.sharing is Sharing.EXCLUSIVE,
        host_login=rule.host_login is HostLogin.SHARE,
        reinsert=rule.handover is Handover.REINSERT,
    )


@lru_cache(PROFILES_KEPT)
def _profile(commands: Commands) -> Profile:
    return compile_profile(commands.base, commands.applications)


def _asked_for(rule: Rule) -> frozenset[Operation]:
    return frozenset(operation for word, operation in OPERATIONS.items() if rule.asks_for(word))
