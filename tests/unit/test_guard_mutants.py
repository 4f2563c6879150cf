"""A check of the checks: when an entry of the built-in tables is gone or lets more through, some test fails.

In memory each of about 2,000 such mutants is held against the rows and the numbers of `test_guard_profiles`; in the
source some are, by pytest itself, and all of them in `make soak`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from random import Random

import pytest

from helpers.guard_mutants import Mutant, SourceMutant, copy_of_source, gone, in_source, widened
from helpers.guard_table import FULL, READ, ROWS, UNKNOWN, USE, Row
from helpers.guarded import let_through, row_passes
from virtcard.card.guard.applications import Application, application_of
from virtcard.card.guard.profile import BUILT_IN, compile_profile

SEED = time.time_ns() % 1_000_000
SAMPLE = 3
"""Mutants of the source in `make test`; each costs a pytest of its own."""
TESTS = Path(__file__).parents[1]

IDLE = {
    (READ, Application.OTHER, "A404xx"),  # A4 is let through whatever P1 is
    (USE, Application.OTHER, "A404xx"),
    (USE, Application.PIV, "200080="),  # VERIFY is let through whatever its data are
    (USE, Application.CAC, "2000xx="),
}
"""Entries that another one of the same table makes needless."""


def application(row: Row) -> Application:
    return Application.UNKNOWN if row.name == UNKNOWN else application_of(bytes.fromhex(row.name))


ROWS_OF = {each: [row for row in ROWS if application(row) is each] for each in Application}


def seen_by_a_row(mutant: Mutant) -> bool:
    """A real command is let through that shall not be, or the other way round."""
    profile = compile_profile(mutant.level, built_in=mutant.tables)
    return any(row_passes(profile, row) is not row.allowed(mutant.level) for row in ROWS_OF[mutant.application])


@cache
def number(level: str, each: Application) -> tuple[int, int]:
    """Of headers that are let through; `test_guard_profiles` has these numbers."""
    return let_through(compile_profile(level), each)


def seen_by_numbers(mutant: Mutant) -> bool:
    """Another number of headers is let through."""
    profile = compile_profile(mutant.level, built_in=mutant.tables)
    return let_through(profile, mutant.application) != number(mutant.level, mutant.application)


def test_an_entry_that_is_gone_fails_a_row() -> None:
    unseen = {(one.level, one.application, one.entry) for one in gone() if not seen_by_a_row(one)}
    assert unseen == IDLE


def test_an_entry_that_is_wider_changes_a_number() -> None:
    mutants = [one for one in widened() if one.is_another]
    assert len(mutants) > 2000
    assert [str(one) for one in mutants if not seen_by_numbers(one)] == []


def test_nothing_that_use_adds_can_slip_into_read_unnoticed() -> None:
    for each, entries in BUILT_IN[USE].items():
        for entry in set(entries) - set(BUILT_IN[READ][each]):
            more = BUILT_IN[READ] | {each: (*BUILT_IN[READ][each], entry)}
            profile = compile_profile(READ, built_in={READ: more})
            assert any(row_passes(profile, row) is not row.allowed(READ) for row in ROWS_OF[each]), entry


def test_nothing_that_full_adds_can_slip_into_use_unnoticed() -> None:
    """An entry for any instruction that is refused fails a row, whatever its parameters are."""
    for row in (row for row in ROWS if row.level == FULL and row.command[0] == 0):
        more = BUILT_IN[USE] | {application(row): (*BUILT_IN[USE][application(row)], row.command[1:4].hex())}
        assert row_passes(compile_profile(USE, built_in={USE: more}), row)


# In the source


def judged(root: Path) -> subprocess.CompletedProcess[str]:
    """The tests of the profiles, in a process that imports this copy of the plugin."""
    probe = "import virtcard, sys, pytest; assert virtcard.__file__.startswith(sys.argv[1]), virtcard.__file__; "
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"{probe}sys.exit(pytest.main(sys.argv[2:]))",
            root,
            "-xq",
            "-p",
            "no:cacheprovider",
            TESTS / "unit/test_guard_profiles.py",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_a_copy_without_a_change_passes(tmp_path: Path) -> None:
    done = judged(copy_of_source(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def check(folder: Path, mutants: list[SourceMutant]) -> None:
    """Each of them fails a test."""
    root, alive = copy_of_source(folder), []
    for mutant in mutants:
        mutant.apply(root)
        done = judged(root)
        if done.returncode != pytest.ExitCode.TESTS_FAILED:
            alive.append(f"{mutant}: {done.stdout[-500:]}{done.stderr[-500:]}")
    assert not alive, "\n".join(alive)


def test_some_mutants_of_the_source_fail_a_test(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    check(tmp_path, Random(SEED).sample(in_source(), SAMPLE))


@pytest.mark.soak
def test_every_mutant_of_the_source_fails_a_test(tmp_path: Path) -> None:
    check(tmp_path, in_source())
