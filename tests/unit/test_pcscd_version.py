"""What pcscd's program says of its version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from virtcard.card.pcscd import pcscd_version


def test_the_installed_one_tells() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", pcscd_version())


def test_none_is_no_version(tmp_path: Path) -> None:
    assert pcscd_version(str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 'pcsc-lite version 2.3.1.'", "2.3.1"),
        ("echo nonsense", ""),
        ("exit 1", ""),
        ("exec sleep 10", ""),
    ],
)
def test_what_a_program_prints(script: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtcard.card.pcscd.PCSCD_PATIENCE", 0.3)
    program = tmp_path / "pcscd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert pcscd_version(str(tmp_path)) == version


def test_what_cannot_be_run_is_no_version(tmp_path: Path) -> None:
    program = tmp_path / "pcscd"
    program.write_bytes(b"\x7fELF nothing")
    program.chmod(0o755)
    assert pcscd_version(str(tmp_path)) == ""
