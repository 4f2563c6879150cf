"""Slow passes take a small part of the time, however many domains there are."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from virtcard.limits import PASS_SHARE, RECONCILE_PERIOD, RECONCILE_PERIOD_MAX
from virtcard.service.pace import give_back_memory, pause_after


@pytest.mark.parametrize(
    ("took", "pause"),
    [(0.0, RECONCILE_PERIOD), (0.02, RECONCILE_PERIOD), (1.0, 1.0 / PASS_SHARE), (100.0, RECONCILE_PERIOD_MAX)],
)
def test_a_pass_that_takes_long_comes_seldom(took: float, pause: float) -> None:
    assert pause_after(took) == pytest.approx(pause)


def test_memory_below_what_is_needed_on_is_given_back() -> None:
    pieces = [bytes(3_000) for _ in range(10_000)]
    kept = pieces[::1000]
    del pieces
    before = resident()
    give_back_memory()
    assert resident() < before - 15_000_000
    assert len(kept) == 10


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
