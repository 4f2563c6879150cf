"""How often everything is looked at, and what is given back afterwards."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from virtcard.limits import PASS_SHARE, RECONCILE_PERIOD, RECONCILE_PERIOD_MAX


def pause_after(seconds: float) -> float:
    """Seconds from a pass that took `seconds` to the next one."""
    return max(RECONCILE_PERIOD, min(seconds / PASS_SHARE, RECONCILE_PERIOD_MAX))


def give_back_memory() -> None:
    """Let the system have what the XML of many domains took: glibc keeps it otherwise, since little of what is needed
    on lies above. malloc_trim(3); another C library does without. It takes about a millisecond for each 10 MB."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
