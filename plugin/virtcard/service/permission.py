"""The second gate: may this machine use this card? The policy says it, and where the policy says so a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from shlex import quote
from typing import Protocol
from uuid import UUID

from virtcard.errors import PolicyDenied
from virtcard.policy.decide import Decision, Request, decide
from virtcard.policy.model import NO_RULE, Action, AskFor, Rule, WhenLocked, WhenViewer
from virtcard.service.api import Caller
from virtcard.service.question import Answer

_LOCKS_OUT = frozenset({WhenLocked.EJECT, WhenLocked.DENY_NEW})
_LOCKS_OUT_IN = frozenset({WhenLocked.EJECT})
"""What a locked screen means to a card that is to go in, and to one that is in."""

Consent = str
"""What a person said yes to: a card, by `Wanted.consent`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A card that shall be in a virtual reader, and what persons have said yes to so far."""

    request: Request
    consents: AbstractSet[Consent] = frozenset()

    @property
    def source(self) -> str:
        """As it was asked for."""
        return self.request.source

    def with_atr(self, atr: bytes) -> Wanted:
        """The same with the card that was found. A yes to a reader whose card nobody had seen is one to this card."""
        request = replace(self.request, atr=atr)
        is_first = not self.request.atr and consent_to(self.request) in self.consents
        return Wanted(request, self.consents | {consent_to(request)} if is_first else self.consents)


class Denied(PolicyDenied):
    """The policy's no. Its message is for everybody; where the rule stands, for those who may write rules."""

    def __init__(self, request: Request, rule: Rule, why: str = "") -> None:
        super().__init__(
            why or f"The policy does not let {request.name} have {request.card}.",
            hint=f"See: virtcard policy explain {quote(request.name)} {quote(request.card)}",
        )
        self.request = request
        self.rule = rule

    def told(self, caller: Caller) -> PolicyDenied:
        """The same as this caller may know it."""
        if not caller.is_owner:
            return self
        place = "No rule fits, and then the answer is no." if self.rule is NO_RULE else f"{self.rule.place} says so."
        return PolicyDenied(self.message, hint=f"{place} {self.hint}")


class Locked(Denied):
    """The policy says no for as long as the person's screen is locked."""

    def __init__(self, request: Request, rule: Rule) -> None:
        super().__init__(request, rule, f"{request.name} may not have {request.card} while the screen is locked.")


class Yields(Denied):
    """The policy says no for as long as a viewer shares smart cards of its own."""

    def __init__(self, request: Request, rule: Rule) -> None:
        sentence = f"{request.name} has the card of its SPICE viewer, which goes before {request.card}."
        super().__init__(request, rule, sentence)


class ConsentNeeded(Denied):
    """The policy says that a person is to be asked first. Whoever can, asks and tries again."""

    def __init__(self, request: Request, rule: Rule) -> None:
        super().__init__(request, rule, f"{request.name} may have {request.card} when a person at the machine agrees.")

    @property
    def consent(self) -> Consent:
        """What a yes is a yes to."""
        return consent_to(self.request)


class Ask(Protocol):
    """Asks a person. Whatever goes wrong on the way is a no."""

    async def __call__(self, request: Request, rule: Rule, operation: AskFor, caller: Caller | None) -> Answer:
        """The answer, with the reason of a no as a sentence.

        `caller` is who called for the card, None for a wish in the metadata. `rule.remember` says for how long a yes
        holds; whoever asks keeps it. A call that is cancelled takes its question along."""


Decided = Callable[[Request, Rule, str], None]
"""Told of each decision: the rule, and why a card may not go in, "" when it may. From any thread."""


class SharesCard(Protocol):
    """Tells whether a viewer shares cards of its own with a machine now."""

    def __call__(self, uuid: UUID, *, is_in: bool) -> bool:
        """`is_in`: for a card that is in already."""


class Gate:
    """Decides by the rules that `rules` gives now, by whether the person's screen is `locked` now, and by whether a
    viewer `shares` cards of its own with a machine now.

    May be used from any thread."""

    def __init__(
        self,
        rules: Callable[[], Sequence[Rule]],
        locked: Callable[[], bool],
        shares: SharesCard,
        decided: Decided = lambda _request, _rule, _why_not: None,
    ) -> None:
        """`decided` puts on record what comes out."""
        self._rules = rules
        self._locked = locked
        self._shares = shares
        self._decided = decided

    def decide(self, request: Request) -> Decision:
        """What the policy says, and why."""
        return decide(self._rules(), request)

    def judge(self, request: Request, consents: AbstractSet[Consent], *, is_in: bool = False) -> Decision:
        """The decision by which the card goes in, or stays; Denied, Locked, Yields or ConsentNeeded if not."""
        try:
            decision = self._judge(request, consents, is_in=is_in)
        except Denied as denied:
            self._decided(request, denied.rule, denied.message)
            raise
        self._decided(request, decision.rule, "")
        return decision

    def _judge(self, request: Request, consents: AbstractSet[Consent], *, is_in: bool) -> Decision:
        decision = self.decide(request)
        if decision.action is Action.DENY:
            raise Denied(request, decision.rule)
        if self._locked() and decision.rule.when_locked in (_LOCKS_OUT_IN if is_in else _LOCKS_OUT):
            raise Locked(request, decision.rule)
        if decision.rule.when_viewer is WhenViewer.VIEWER and self._shares(request.uuid, is_in=is_in):
            raise Yields(request, decision.rule)
        if decision.rule.asks_for(AskFor.INSERT) and consent_to(request) not in consents:
            raise ConsentNeeded(request, decision.rule)
        return decision


def consent_to(request: Request) -> Consent:
    """The name of a software card, or the reader with the very card in it: another one in its place is another."""
    return f"{request.card} {request.atr.hex()}" if request.reader else request.card
