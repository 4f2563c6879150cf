"""What a lease adds to a command, and what everything adds that stands between a bridge and a card in a host reader.

Around a card that answers in no time, by turns in one run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from helpers.fake_card import ATR, OK  # noqa: E402 (a benchmark runs by itself, too)
from virtcard.card.audit import Ledger  # noqa: E402
from virtcard.card.base import Card, CardListener, Transmission  # noqa: E402
from virtcard.card.lease.leased import Leased  # noqa: E402
from virtcard.card.lease.office import LeaseOffice  # noqa: E402
from virtcard.card.selection import Selection  # noqa: E402
from virtcard.policy.decide import Decision, Request  # noqa: E402
from virtcard.policy.model import Action, Rule  # noqa: E402
from virtcard.service.wardrobe import Fitting, Wardrobe  # noqa: E402

ROUNDS = 40
COMMANDS = 500
"""Commands of one turn; every command is timed for itself."""
SELECT = bytes.fromhex("00A4040009A00000030800001000")
READ = bytes.fromhex("00CB3FFF055C035FC10200")


class Instant:
    """A shared card that costs nothing."""

    reader = "Reader"
    transmission = Transmission.T0

    def power_on(self, *, exclusive: bool = False) -> bytes:
        return ATR

    def transmit(self, command: bytes) -> bytes:
        return OK

    def reset(self) -> bytes:
        return ATR

    def begin(self) -> None: ...

    def end(self, *, reset: bool) -> None: ...

    def leave(self) -> None: ...

    def power_off(self) -> None: ...

    def listen(self, listener: CardListener | None) -> None: ...


def run() -> dict[str, float]:
    """Medians in microseconds of one command, and what is added to it."""
    cards: dict[str, Card] = {
        "bare": Instant(),
        "selection": Selection(Instant()),
        "lease": Selection(_leased()),
        "all": _dressed(),
    }
    for card in cards.values():
        card.power_on()
        card.transmit(SELECT)
    medians = _measure({name: card.transmit for name, card in cards.items()})
    for card in cards.values():
        card.power_off()
    return {
        "lease_adds_us": medians["lease"] - medians["selection"],
        "guard_audit_lease_add_us": medians["all"] - medians["selection"],
        "wrappers_add_us": medians["all"] - medians["bare"],
    }


def _leased() -> Leased:
    return Leased(Instant(), LeaseOffice("Reader"))


def _dressed() -> Card:
    """As the service dresses it for a rule of the policy."""
    request = Request(UUID(int=1), "vm", source="reader:Reader", reader="Reader", atr=ATR)
    decision = Decision(Action.ALLOW, Rule(Action.ALLOW))
    return (
        Wardrobe(lambda _fitting, _operation: False)
        .dress(Fitting(_leased(), 0, lambda: request, decision, lambda: decision.rule, Ledger(), lambda _atr: None))
        .card
    )


def _measure(turns: dict[str, Callable[[bytes], bytes]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, transmit in turns.items():
            for _ in range(COMMANDS):
                begin = perf_counter()
                transmit(READ)
                times[name].append(perf_counter() - begin)
    return {name: median(values) * 1e6 for name, values in times.items()}


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<26} {value:8.2f}")
