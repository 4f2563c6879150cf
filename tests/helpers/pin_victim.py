"""Tries the PIN of a card again and again until it is killed: `pin_victim.py DIRECTORY NAME SEED`.

Says before each try what it tries, and after it what came out: "try right", "3" (or "try wrong", "-2").
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

from helpers.soft_cards import PIN_DIGITS  # noqa: E402 (a process of its own)
from virtcard.card.soft.pins import Pins  # noqa: E402
from virtcard.card.soft.store import Store  # noqa: E402


def say(word: str) -> None:
    """At once, in one piece."""
    os.write(1, f"{word}\n".encode())


def main(directory: str, name: str, seed: str) -> None:
    """Until somebody kills us."""
    choice = random.Random(int(seed))  # a test that fails can be run again
    with Store(Path(directory)).open(name) as card:
        pins = Pins(card)
        while True:
            right = choice.random() < 0.2
            say("try right" if right else "try wrong")
            outcome = pins.verify_pin(PIN_DIGITS if right else b"000000")
            say(f"{outcome.tries_left if outcome.ok else -outcome.tries_left}")


if __name__ == "__main__":
    main(*sys.argv[1:])
