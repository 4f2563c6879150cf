"""Software cards for tests: quick to make, with PINs that everybody knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from virtcard.card.soft import make
from virtcard.card.soft.model import CardData, CardType, Cost
from virtcard.card.soft.store import Store

CHEAP: Final = Cost(log2_n=1, r=1)
"""A PIN that is quick to try, by whoever has the file."""
PIN_DIGITS: Final = b"123456"
PUK_DIGITS: Final = b"12345678"


def wanted(name: str = "card", kind: CardType = CardType.PIV, *, tries: int = 3) -> make.Wanted:
    """A cheap card."""
    return make.Wanted(name=name, type=kind, pin=PIN_DIGITS, puk=PUK_DIGITS, tries=tries, cost=CHEAP)


def empty_card(store: Store, name: str = "card", kind: CardType = CardType.PIV, *, tries: int = 3) -> CardData:
    """A card in the store, without keys."""
    return make.create_from(store, wanted(name, kind, tries=tries), {})


def open_descriptors() -> set[str]:
    """The files that this process has open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue
    return found


def leftovers(directory: Path) -> list[str]:
    """The files of a store that are neither cards, nor locks, nor its key."""
    return sorted(
        path.name for path in directory.iterdir() if path.suffix not in {".card", ".lock"} and path.name != "store.key"
    )
