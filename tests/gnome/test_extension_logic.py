"""The extension's logic, in gjs and without a shell: each fact of logic.js is a test."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "logic.js"
FACTS = re.findall(r"^    (\w+)\(\) \{$", SCRIPT.read_text(), re.MULTILINE)


@cache
def results() -> dict[str, str]:
    done = subprocess.run(["gjs", "-m", SCRIPT], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("fact", FACTS)
def test_fact(fact: str) -> None:
    assert results()[fact] == ""


def test_every_fact_was_looked_at() -> None:
    assert list(results()) == FACTS
