"""The built-in profiles: what each of them lets through, and that no entry of their tables is idle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.guard_table import FULL, LEVELS, READ, ROWS, UNKNOWN, USE, Row
from helpers.guarded import Guarded
from virtcard.card.guard.applications import Application, application_of
from virtcard.card.guard.builtin import Entries
from virtcard.card.guard.profile import BUILT_IN, Profile, compile_profile

PART_OF_A_NAME = "A0000003"


def passes(profile: Profile, row: Row) -> bool:
    """The command reaches a card on which this application is selected."""
    guarded = Guarded(profile=profile)
    if row.name:
        guarded.select(PART_OF_A_NAME if row.name == UNKNOWN else row.name)
    return guarded.passes(row.command)


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    return {level: compile_profile(level) for level in LEVELS}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_profile_lets_through_what_it_shall(profiles: dict[str, Profile], row: Row) -> None:
    for level, profile in profiles.items():
        assert passes(profile, row) is row.allowed(level), level


def test_every_application_has_rows_of_each_sort() -> None:
    assert {(row.name, row.level) for row in ROWS} >= {(row.name, level) for row in ROWS for level in (READ, FULL)}


IDLE = {
    (READ, Application.OTHER, "A404xx"),  # A4 is let through whatever P1 is
    (USE, Application.OTHER, "A404xx"),
    (USE, Application.PIV, "200080="),  # VERIFY is let through whatever its data are
    (USE, Application.CAC, "2000xx="),
}
"""Entries that another one of the same table makes needless."""


def mutants() -> Iterator[tuple[str, Application, str, dict[str, Entries]]]:
    """The tables with one entry less."""
    for level, table in BUILT_IN.items():
        for application, entries in table.items():
            for entry in entries:
                less = table | {application: tuple(one for one in entries if one != entry)}
                yield level, application, entry, {**BUILT_IN, level: less}


def test_no_entry_can_go_unnoticed() -> None:
    unnoticed = set()
    for level, application, entry, tables in mutants():
        profile = compile_profile(level, built_in=tables)
        if all(passes(profile, row) is row.allowed(level) for row in BY_APPLICATION[application]):
            unnoticed.add((level, application, entry))
    assert unnoticed == IDLE


def test_nothing_that_use_adds_can_slip_into_read_unnoticed() -> None:
    unnoticed = set()
    for application, entries in BUILT_IN[USE].items():
        for entry in set(entries) - set(BUILT_IN[READ][application]):
            more = BUILT_IN[READ] | {application: (*BUILT_IN[READ][application], entry)}
            profile = compile_profile(READ, built_in={READ: more})
            if all(passes(profile, row) is row.allowed(READ) for row in BY_APPLICATION[application]):
                unnoticed.add((application, entry))
    assert not unnoticed


def test_nothing_that_full_adds_can_slip_into_use_unnoticed() -> None:
    """An entry for any instruction that is refused fails a row, whatever its parameters are."""
    for row in (row for row in ROWS if row.level == FULL and row.command[0] == 0):
        application = _application_of(row)
        more = BUILT_IN[USE] | {application: (*BUILT_IN[USE][application], row.command[1:4].hex())}
        assert passes(compile_profile(USE, built_in={USE: more}), row) or _is_refused_otherwise(row)


def _is_refused_otherwise(row: Row) -> bool:
    return row.command == bytes.fromhex("1087009B047C028100")


def _application_of(row: Row) -> Application:
    if row.name == UNKNOWN:
        return Application.UNKNOWN
    return application_of(bytes.fromhex(row.name))


BY_APPLICATION = {
    application: [row for row in ROWS if _application_of(row) is application] for application in Application
}
