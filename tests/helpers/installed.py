"""Whether the virtcard that tests would find is the one of this source."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
GROUP = "virtcard.sources"


def is_current() -> bool:
    """The entry points that pyproject.toml has are installed; an editable install does not follow it by itself."""
    written: dict[str, str] = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"][GROUP]
    installed = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return installed.items() >= written.items()
