"""The fuzzing run tells what it did, and names the input that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.choices import Choices
from fuzz.engine import read, run

LOG = """INFO: Running with entropic power schedule (0xFF, 100).
#2	INITED cov: 10 ft: 10 corp: 1/1b exec/s: 0 rss: 40Mb
#4096	pulse  cov: 44 ft: 288 corp: 44/1489b lim: 131 exec/s: 819 rss: 41Mb
"""
CRASH = " === Uncaught Python exception: ===\nTest unit written to /tmp/tlv-crash-0a\n"


def test_the_last_figures_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG + "#4186	DONE   cov: 45 ft: 290 corp: 44/1489b lim: 131 exec/s: 697 rss: 41Mb\n")
    assert str(read("tlv", log, ok=True)) == "4186 executions, 45 edges, 290 features, no findings"


def test_an_input_that_fails_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(LOG + CRASH)
    assert f"FAILED on /tmp/tlv-crash-0a, see {log}" in str(read("tlv", log, ok=False))


def test_a_target_that_does_not_start_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ModuleNotFoundError: no module\n")
    assert str(read("tlv", log, ok=False)).startswith("0 executions, 0 edges, 0 features, FAILED on start")


def test_a_target_is_run_and_guided_by_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.engine.CACHE", tmp_path)
    result = run("apdu", 1)
    assert result.ok
    assert result.executions > 10
    assert result.coverage > 10


def test_a_choice_behind_the_end_is_nothing() -> None:
    choices = Choices(b"\x02ab\xff\x07\x01\x00\x05")
    assert list(choices.blocks()) == [b"ab", b"\7" * 256, b""]
    assert (choices.number(2), choices.block(), choices.one_of("xy")) == (0, b"", "x")
