"""Fixtures of all bus tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.bus import PrivateBus, private_bus


@pytest.fixture
def private() -> Iterator[PrivateBus]:
    """A bus of the test's own."""
    with private_bus() as bus:
        yield bus
