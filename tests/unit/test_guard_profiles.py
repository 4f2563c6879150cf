"""The built-in profiles: what each of them lets through, of all that there is."""

from __future__ import annotations

import pytest

from helpers.guard_table import FULL, LEVELS, READ, ROWS, USE, Row
from helpers.guarded import let_through, row_passes
from virtcard.card.guard.applications import Application
from virtcard.card.guard.profile import BUILT_IN, Profile, compile_profile


@pytest.fixture(scope="module")
def profiles() -> dict[str, Profile]:
    return {level: compile_profile(level) for level in LEVELS}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_profile_lets_through_what_it_shall(profiles: dict[str, Profile], row: Row) -> None:
    for level, profile in profiles.items():
        assert row_passes(profile, row) is row.allowed(level), level


def test_every_application_has_rows_of_each_sort() -> None:
    assert {(row.name, row.level) for row in ROWS} >= {(row.name, level) for row in ROWS for level in (READ, FULL)}


ANY = 0x10000
"""Headers of one instruction in one class; with P1 or P2 fixed there are ROW, with both one."""
ROW = 0x100
EVERYWHERE = ROW + 2 * ANY + ANY + 2 * ROW + 2
"""SELECT by name, GET RESPONSE in two classes, GET CHALLENGE, MANAGE CHANNEL to open and close, a contactless UID."""

HEADERS = {
    (READ, Application.UNKNOWN): EVERYWHERE,
    (READ, Application.PIV): EVERYWHERE + 1 + 3 * ANY,
    (READ, Application.CAC): EVERYWHERE + ROW + 10 * ANY,
    (READ, Application.OPENPGP): EVERYWHERE + 4 * ANY + ROW,
    (READ, Application.CARD_MANAGER): EVERYWHERE + 4 * ANY,
    (READ, Application.YUBIKEY_MANAGEMENT): EVERYWHERE + ANY,
    (READ, Application.YUBIKEY_OTP): EVERYWHERE + ANY + 2 * ROW,
    (READ, Application.YUBIKEY_OATH): EVERYWHERE + 2 * ANY,
    (READ, Application.YUBIKEY_HSMAUTH): EVERYWHERE + 3 * ANY,
    (READ, Application.YUBIKEY_OTHER): EVERYWHERE,
    (READ, Application.OTHER): EVERYWHERE - ROW + 17 * ANY,
    (USE, Application.UNKNOWN): EVERYWHERE,
    (USE, Application.PIV): EVERYWHERE + 1 + 3 * ANY + 2 * ROW + 25 * ROW + ANY,
    (USE, Application.CAC): EVERYWHERE + ROW + 10 * ANY + ROW + 2 * ANY,
    (USE, Application.OPENPGP): EVERYWHERE + 4 * ANY + ROW + 10,
    (USE, Application.CARD_MANAGER): EVERYWHERE + 4 * ANY,
    (USE, Application.YUBIKEY_MANAGEMENT): EVERYWHERE + ANY,
    (USE, Application.YUBIKEY_OTP): EVERYWHERE + ANY + 6 * ROW,
    (USE, Application.YUBIKEY_OATH): EVERYWHERE + 4 * ANY + ROW,
    (USE, Application.YUBIKEY_HSMAUTH): EVERYWHERE + 6 * ANY,
    (USE, Application.YUBIKEY_OTHER): EVERYWHERE,
    (USE, Application.OTHER): EVERYWHERE - ROW + 17 * ANY + 11 * ANY + 16 * ROW + ROW + 2 * ANY,
}
"""How many of the 5 * 256 * ANY headers are let through whatever their data are."""
WITH_DATA = {
    (READ, Application.PIV): 1,
    (READ, Application.CAC): ROW,
    (READ, Application.OPENPGP): ROW,
    (USE, Application.PIV): 1,
    (USE, Application.OPENPGP): ROW - 2,
}
"""How many more are with certain data: VERIFY without any, and a PIV card's random bytes."""


@pytest.mark.parametrize(("level", "application"), HEADERS, ids=str)
def test_nothing_else_is_let_through(level: str, application: Application) -> None:
    """The rows above are samples; this counts all that there is."""
    expected = HEADERS[level, application], WITH_DATA.get((level, application), 0)
    assert let_through(compile_profile(level), application) == expected


def test_every_application_is_counted() -> None:
    assert set(HEADERS) == {(level, application) for level in BUILT_IN for application in BUILT_IN[level]}
