"""An admin's tables of commands: their form, what they add and take away, and what is wrong with bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.dressed import dressed
from helpers.fake_card import FakeCard
from helpers.guard_table import CARD_MANAGER, FOREIGN, OATH, OTP, PIV
from helpers.guarded import Commands, Guarded
from virtcard import limits
from virtcard.card.guard.applications import PREFIXES, Application, application_of
from virtcard.card.guard.classes import CLASSES, ClassByte, Kind
from virtcard.card.guard.pattern import parse_pattern
from virtcard.card.guard.profile import compile_profile
from virtcard.errors import InvalidArgument

README = (Path(__file__).parents[2] / "README.md").read_text()
PUT_DATA, GENERATE = "00DB3FFF035C017E", "0047009A05AC03800111"
SIGN_9A, SIGN_9C = "0087079A0401020304", "0087079C0401020304"


def with_tables(name: str, *tables: Commands, base: str = "use") -> Guarded:
    guarded = Guarded(profile=base, tables=tables)
    guarded.select(name)
    return guarded


# Patterns


def test_an_instruction_alone_fits_whatever_its_parameters_are() -> None:
    pattern = parse_pattern("20")
    assert (pattern.instructions(), pattern.parameters) == ((0x20,), (0, 0))


def test_x_is_any_digit() -> None:
    pattern = parse_pattern("87xx9A")
    assert (pattern.instructions(), pattern.parameters) == ((0x87,), (0x00FF, 0x009A))
    assert parse_pattern("Ax").instructions() == tuple(range(0xA0, 0xB0))
    assert len(parse_pattern("xX").instructions()) == 256


@given(ins=st.integers(0, 255), p1=st.integers(0, 255), p2=st.integers(0, 255), hidden=st.sets(st.integers(0, 5)))
def test_a_pattern_fits_its_own_command(ins: int, p1: int, p2: int, hidden: set[int]) -> None:
    digits = f"{ins:02x}{p1:02X}{p2:02x}"
    pattern = parse_pattern("".join("x" if at in hidden else digit for at, digit in enumerate(digits)))
    mask, value = pattern.parameters
    assert ins in pattern.instructions()
    assert (p1 << 8 | p2) & mask == value


@pytest.mark.parametrize("text", ["", "2", "200", "2000", "20000", "2000800", "20 00 80", "0x20", "2g", "²0", "20\n"])
def test_what_is_no_pattern_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is no command") as caught:
        parse_pattern(text)
    assert "INS P1 P2" in caught.value.hint


# Classes


def test_the_class_byte_is_read_as_the_standards_say() -> None:
    assert CLASSES[0x00].plain
    assert CLASSES[0x13] == ClassByte(Kind.INTERINDUSTRY, 3, chained=True)
    assert CLASSES[0x04] == CLASSES[0x08] == CLASSES[0x0C] == ClassByte(Kind.INTERINDUSTRY, secured=True)
    assert CLASSES[0x40] == ClassByte(Kind.INTERINDUSTRY, 4)
    assert CLASSES[0x7F] == ClassByte(Kind.INTERINDUSTRY, 19, chained=True, secured=True)
    assert CLASSES[0x84] == ClassByte(Kind.PROPRIETARY, secured=True)
    assert CLASSES[0x91] == ClassByte(Kind.PROPRIETARY, 1, chained=True)
    assert CLASSES[0xA0].kind is Kind.GSM
    assert CLASSES[0xFF].kind is Kind.READER
    assert {CLASSES[cla].kind for cla in (*range(0x20, 0x40), *range(0xA1, 0xFF))} == {Kind.OTHER}


# Names


def test_the_longest_prefix_counts() -> None:
    assert application_of(bytes.fromhex(OATH)) is Application.YUBIKEY_OATH
    assert application_of(bytes.fromhex("A0000005279999")) is Application.YUBIKEY_OTHER
    assert application_of(bytes.fromhex(FOREIGN)) is Application.OTHER


def test_every_prefix_is_long_enough_for_an_aid() -> None:
    assert all(5 <= len(prefix) <= 16 for prefix in PREFIXES)


# Tables


def test_allow_adds_a_command() -> None:
    guarded = with_tables(PIV, Commands("A000000308", allow=("DB3FFF",)))
    assert guarded.passes(PUT_DATA)
    assert guarded.refuses("00DB0000035C017E") == "6982"
    assert guarded.refuses(GENERATE) == "6d00"


def test_deny_takes_one_away() -> None:
    guarded = with_tables(PIV, Commands("A000000308", deny=("87xx9C",)))
    assert guarded.passes(SIGN_9A)
    assert guarded.refuses(SIGN_9C) == "6982"


def test_deny_beats_allow() -> None:
    guarded = with_tables(PIV, Commands("A000000308", allow=("87",), deny=("87xx9C",)))
    assert guarded.passes("0087079B0401020304")
    assert guarded.refuses(SIGN_9C) == "6982"


def test_tables_of_a_shorter_and_of_a_longer_aid_both_count() -> None:
    tables = (Commands("A000000527", deny=("A2",)), Commands(OATH, allow=("01",)))
    guarded = with_tables(OATH, *tables)
    assert guarded.passes("00010000027100")
    assert guarded.refuses("00A20001027100") == "6982"
    guarded.select(OTP)
    assert guarded.refuses("00010100020102") == "6982"


def test_the_table_of_one_application_leaves_the_others_alone() -> None:
    guarded = with_tables(PIV, Commands(CARD_MANAGER, allow=("DB",)))
    assert guarded.refuses(PUT_DATA) == "6d00"


def test_other_is_no_application_and_those_that_nobody_knows() -> None:
    guarded = Guarded(tables=[Commands("other", allow=("D6",), deny=("B2",))])
    for name in (None, FOREIGN):
        if name:
            guarded.select(name)
        assert guarded.passes("00D600000100")
        assert guarded.refuses("00B2010400") == "6982"
    guarded.select(PIV)
    assert guarded.refuses("00D600000100") == "6d00"


def test_an_unknown_application_with_a_table_of_its_own_is_no_other() -> None:
    tables = (Commands(FOREIGN[:10], allow=("D6",)), Commands("other", deny=("B0",)))
    guarded = with_tables(FOREIGN, *tables)
    assert guarded.passes("00D600000100")
    assert guarded.passes("00B0000000")


def test_the_name_of_an_admins_application_is_not_selected_in_part() -> None:
    guarded = with_tables(FOREIGN[:12], Commands(FOREIGN, deny=("B0",)))
    assert guarded.refuses("00B0000000") == "6982"
    assert guarded.refuses("00B2010400") == "6d00"


def test_allow_opens_proprietary_classes_and_no_readers() -> None:
    guarded = with_tables(CARD_MANAGER, Commands(CARD_MANAGER, allow=("xx",)))
    for command in ("80E6020000", "84E6020000", "00E6020000", "A0E6020000"):
        assert guarded.passes(command)
    for command in ("FF82000000", "B0E6020000", "20E6020000"):
        assert guarded.refuses(command) == "6e00"


def test_deny_holds_in_every_class() -> None:
    guarded = with_tables(CARD_MANAGER, Commands(CARD_MANAGER, deny=("E6",)), base="full")
    for cla in range(256):
        if CLASSES[cla].channel == 0:
            assert not guarded.passes(bytes((cla, 0xE6, 2, 0, 0)))


def test_read_may_be_the_base() -> None:
    guarded = with_tables(PIV, Commands("A000000308", allow=("87xx9A", "20xx80")), base="read")
    assert guarded.passes(SIGN_9A)
    assert guarded.passes("0020008008313233343536FFFF")
    assert guarded.refuses(SIGN_9C) == "6982"


# The README's example


def test_the_table_in_the_readme_does_what_it_says() -> None:
    section = README.split("## Commands and PINs")[1].split("## ")[0]
    rules = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    ") and "virtcard" not in line)
    card = FakeCard()
    guarded = dressed(card, rules, vm="win11", reader="Yubico YubiKey CCID 00 00").card
    guarded.power_on()
    said = [guarded.transmit(bytes.fromhex(command)).hex() for command in ("00B0000000", "00CA010100")]
    assert said == ["6982", "9000"]
    guarded.transmit(bytes.fromhex("00A4040005A000000308"))
    said = [guarded.transmit(bytes.fromhex(command)).hex() for command in (PUT_DATA, SIGN_9A, SIGN_9C, GENERATE)]
    assert said == ["9000", "9000", "6982", "6d00"]


def test_the_tries_in_the_readme_are_those_that_are_assumed() -> None:
    assert (limits.PIN_TRIES_ASSUMED, limits.KEY_TRIES_ASSUMED) == (3, 10)
    assert "from\nthree tries, and ten for keys" in README


# What is wrong


@pytest.mark.parametrize("base", ["", "FULL", "all", "none"])
def test_a_base_that_there_is_not_is_named(base: str) -> None:
    with pytest.raises(InvalidArgument, match=f'no command profile "{base}"'):
        compile_profile(base)


@pytest.mark.parametrize(
    "aid", ["", "A0", "A0000003", "A00000030", "A0 00 00 03 08", "piv", "OTHER", "A0" * 17, "٣" * 10]
)
def test_a_wrong_aid_is_named(aid: str) -> None:
    with pytest.raises(InvalidArgument, match="is no AID"):
        compile_profile("use", [Commands(aid)])


def test_two_tables_for_one_application_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="two tables"):
        compile_profile("use", [Commands("A000000308"), Commands("a000000308")])


@pytest.mark.parametrize("table", [Commands("other", allow=("8",)), Commands("other", deny=("8zzz9A",))])
def test_a_wrong_command_in_a_table_is_refused(table: Commands) -> None:
    with pytest.raises(InvalidArgument, match="is no command"):
        compile_profile("use", [table])
