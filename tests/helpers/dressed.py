"""A card as the service gives it to a bridge by the rules of a policy file, and what of it reaches the card."""

from __future__ import annotations

from uuid import UUID

from virtcard.card.audit import Ledger
from virtcard.card.base import Card, CardListener, Transmission
from virtcard.policy.decide import Request, decide
from virtcard.policy.load import Document, parse
from virtcard.policy.model import Action
from virtcard.service.wardrobe import Dressed, Fitting, Wardrobe


class Noted:
    """A Card around a Card, which notes what comes."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self.commands: list[bytes] = []

    @property
    def transmission(self) -> Transmission:
        return self._card.transmission

    @property
    def instructions(self) -> set[int]:
        """All that came."""
        return {command[1] for command in self.commands}

    def power_on(self) -> bytes:
        return self._card.power_on()

    def transmit(self, command: bytes) -> bytes:
        self.commands.append(command)
        return self._card.transmit(command)

    def reset(self) -> bytes:
        return self._card.reset()

    def power_off(self) -> None:
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        self._card.listen(listener)


def dressed(
    card: Card,
    rules: str,
    *,
    wardrobe: Wardrobe | None = None,
    vm: str = "win11",
    reader: str = "",
    ledger: Ledger | None = None,
) -> Dressed:
    """The card for this machine, as `rules` (a policy file) have it. Who shares a card shares the wardrobe."""
    policy = parse([Document("50-test.toml", rules)])
    assert not policy.problems, policy.problems
    request = Request(UUID(int=1), vm, source="card:jane", reader=reader)
    decision = decide(policy.rules, request)
    assert decision.action is not Action.DENY, decision
    told = ledger or Ledger()
    fitting = Fitting(card, 0, lambda: request, decision, lambda: decision.rule, told, lambda _atr: None)
    return (wardrobe or Wardrobe(lambda _fitting, _operation: False)).dress(fitting)
