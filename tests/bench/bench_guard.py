"""What the guard alone adds to a command: to one that it knows, to one that it must look at, and what a refusal takes.

Around a card that answers in no time, by turns in one run. `bench_lease` has it with audit and lease.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from helpers.fake_card import ATR, OK  # noqa: E402 (a benchmark runs by itself, too)
from virtcard.card.base import CardListener, Transmission  # noqa: E402
from virtcard.card.guard.guard import Guard  # noqa: E402
from virtcard.card.guard.ledger import PinLedgers  # noqa: E402
from virtcard.card.guard.pins import PinGuard  # noqa: E402
from virtcard.card.guard.profile import compile_profile  # noqa: E402

ROUNDS = 40
COMMANDS = 500
"""Commands of one turn; every command is timed for itself."""
SELECT = bytes.fromhex("00A4040009A00000030800001000")
KINDS = {
    "read": bytes.fromhex("00CB3FFF055C035FC10200"),
    "select": SELECT,
    "sign": bytes.fromhex("0087079A067C0482008100"),
    "chained": bytes.fromhex("1087079A067C0482008100"),
    "verify": bytes.fromhex("0020008008313233343536FFFF"),
    "refused": bytes.fromhex("00DB3FFF035C017E"),
}
"""`verify` has a question of the guard's own in it, which the card answers in no time here."""


class Instant:
    """A card that costs nothing."""

    transmission = Transmission.T0

    def power_on(self) -> bytes:
        return ATR

    def transmit(self, command: bytes) -> bytes:
        return OK

    def reset(self) -> bytes:
        return ATR

    def power_off(self) -> None: ...

    def listen(self, listener: CardListener | None) -> None: ...


def run() -> dict[str, float]:
    """Medians in microseconds that are added to one command; of a refused one, all that it takes."""
    bare = Instant()
    guard = Guard(bare, compile_profile("use"), pins=PinGuard(PinLedgers(), "a reader", 1))
    guard.power_on()
    guard.transmit(SELECT)
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    alone: list[float] = []
    for _ in range(ROUNDS):
        alone += _turn(bare, SELECT)
        for name, command in KINDS.items():
            times[name] += _turn(guard, command)
            guard.transmit(KINDS["sign"])  # a chain ends
    base = median(alone)
    return {f"guard_{name}_adds_us": (median(values) - base) * 1e6 for name, values in times.items()}


def _turn(card: Instant | Guard, command: bytes) -> list[float]:
    found = []
    for _ in range(COMMANDS):
        begin = perf_counter()
        card.transmit(command)
        found.append(perf_counter() - begin)
    return found


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<26} {value:8.2f}")
