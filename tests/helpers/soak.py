"""Which of the long tests fit into a given time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest


def minutes_of(test: pytest.Item) -> float:
    """What its marker `soak(minutes=N)` says; one that does not say may take any time."""
    marker = test.get_closest_marker("soak")
    said: float = inf if marker is None else marker.kwargs.get("minutes", inf)
    return said


def fitting(tests: Sequence[pytest.Item], minutes: float) -> list[pytest.Item]:
    """As many of the soak tests as fit into `minutes`, the shortest first; no other tests."""
    left = minutes
    chosen = []
    for test in sorted(tests, key=minutes_of):
        left -= minutes_of(test)
        if left < 0:
            break
        chosen.append(test)
    return chosen
