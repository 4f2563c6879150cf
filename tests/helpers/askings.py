"""What a guest asks in the background while its card goes, and what may come of it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from helpers.guest_agent import Result
from helpers.jobs import Job
from helpers.scripted_card import WAIT

NOTHING_TO_FETCH = "6985"
"""What the card says to a GET RESPONSE whose command got an error while another virtcardd was on its way."""
PROMPT = 5.0
"""Seconds in which a guest must have its error or its answer; its own patience is 23."""


@dataclass
class Asking:
    """A command that runs in the guest meanwhile."""

    ask: Callable[[], Result]
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        started = time.monotonic()
        self.results.append(self.ask())
        self.seconds = time.monotonic() - started

    def end(self) -> Result:
        """What came of it."""
        self._thread.join(90)
        assert self.results, "the guest's command hangs"
        return self.results[0]


def in_an_apdu(one: Job, rng: Random) -> Asking:
    """The card works on a command, of `scard` or of `opensc-tool`."""
    one.first.gate.clear()
    commands = [f"scard run 0 {WAIT.hex()}", "opensc-tool -c default -s 80:14:00:00"]
    command = rng.choice(commands)
    asking = Asking(lambda: one.guest.run(command, 60))
    assert one.first.waiting.wait(10)
    return asking


def is_error(answer: str) -> bool:
    """Nothing at all is what QEMU 7.2 answers while the slot is empty and the guest does not know yet
    (dev-smartcard-reader.c, ccid_on_apdu_from_guest)."""
    return not answer or answer.startswith("error") or answer == NOTHING_TO_FETCH


@contextmanager
def timing() -> Iterator[list[float]]:
    """Seconds that the guest's commands took; shown in the captured output (pytest -rP)."""
    seconds: list[float] = []
    yield seconds
    if seconds:
        median = statistics.median(seconds)
        print(f"{len(seconds)} commands of the guest: median {median:.2f} s, longest {max(seconds):.2f} s")
