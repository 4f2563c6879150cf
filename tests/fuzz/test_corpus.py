"""What fuzzing found worth keeping holds: every file of the corpus passes the check of its target."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from fuzz.engine import CORPUS, TARGETS

FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_of_the_corpus_passes(path: Path) -> None:
    importlib.import_module(f"fuzz.fuzz_{path.parent.name}").check(path.read_bytes())


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)


def test_the_corpus_stays_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 500_000


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 8, bytes(range(256))])
def test_a_target_takes_any_bytes(target: str, data: bytes) -> None:
    importlib.import_module(f"fuzz.fuzz_{target}").check(data)
