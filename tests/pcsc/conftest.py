"""A pcscd of its own for every test: it starts in about 20 ms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.pcsc_lab import Lab, running_lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Everything running, both slots empty."""
    with running_lab() as lab:
        yield lab
