"""Waiting for a condition with a deadline, in place of sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, what: str, interval: float = 0.02) -> None:
    """Return when the condition holds; fail with `what` when it does not within `seconds`, on a busy machine thrice."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + seconds * slowness(), f"not within {seconds:g} s: {what}"
        time.sleep(interval)


def slowness() -> int:
    """How many times longer than on an idle machine anything may take here and now."""
    return 3 if os.getloadavg()[0] > (os.cpu_count() or 1) else 1
