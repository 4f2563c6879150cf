"""The Le that T=0 strips, for cards that speak T=1. Which commands answer data: ISO 7816-4, 7816-8; SP 800-73-4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.bridge.complete import lacks_le
from virtcard.bridge.tpdu import Ask, Give, TpduAdapter
from virtcard.card.base import Transmission
from virtcard.wire.apdu import Case, CommandApdu

ANSWERS_DATA = [
    "00A4040005A000000308",  # SELECT, FCI wanted
    "00A4040405A000000308",  # SELECT, FCP wanted
    "00CB3FFF055C035FC105",  # GET DATA
    "0087079B047C028100",  # GENERAL AUTHENTICATE
    "0086000004 7C028000",
    "00880000 08 0102030405060708",  # INTERNAL AUTHENTICATE
    "002A9E9A 02 AABB",  # PSO: COMPUTE DIGITAL SIGNATURE
    "002A8086 02 AABB",  # PSO: DECIPHER
    "00478000 02 B600",  # GENERATE ASYMMETRIC KEY PAIR
    "00470099 05 AC03800107",
    "00B10000 04 54020000",  # READ BINARY, odd
    "40CB3FFF055C035FC105",  # channel 4
    "0CB0000002AABB",  # secure messaging answers every command with data
    "0C200000 02 AABB",
    "6020000002AABB",
    "0082000028" + "AB" * 40,  # MUTUAL AUTHENTICATE of a travel document (ICAO 9303-11)
]

ANSWERS_NONE = [
    "00A4040C05A000000308",  # SELECT, no answer wanted
    "0020008008313233343536FFFF",  # VERIFY
    "0024008002AABB",
    "00DB3FFF055C035FC105",  # PUT DATA
    "002A00BE02AABB",  # PSO: VERIFY CERTIFICATE
    "0082000008" + "AB" * 8,  # EXTERNAL AUTHENTICATE
    "002281B602AABB",  # MANAGE SECURITY ENVIRONMENT
    "1087079B047C028100",  # not the last of its chain
    "80CB3FFF055C035FC105",  # proprietary: it means what its maker says
    "00CB3FFF055C035FC10500",  # has its Le
    "00CB3FFF055C035FC1",  # cut
    "00CB3FFF00",
    "00CB3FFF0000055C035FC105",  # extended
    "00A40400",
]


def t1() -> TpduAdapter:
    return TpduAdapter(Transmission.T1)


@pytest.mark.parametrize("command", ANSWERS_DATA)
def test_a_t1_card_gets_the_le_that_the_guest_stripped(command: str) -> None:
    assert t1().command(bytes.fromhex(command)) == Ask(bytes.fromhex(command) + b"\0")


@pytest.mark.parametrize("command", ANSWERS_DATA)
def test_a_t0_card_gets_what_the_guest_sent(command: str) -> None:
    assert TpduAdapter(Transmission.T0).command(bytes.fromhex(command)) == Ask(bytes.fromhex(command))


@pytest.mark.parametrize("command", ANSWERS_NONE)
def test_a_command_that_answers_no_data_stays_as_it_is(command: str) -> None:
    assert t1().command(bytes.fromhex(command)) == Ask(bytes.fromhex(command))


@given(st.binary(min_size=4, max_size=300))
def test_only_case_3_short_is_completed_and_becomes_case_4_short(command: bytes) -> None:
    if lacks_le(command):
        assert CommandApdu.parse(command).case is Case.CASE_3S
        assert CommandApdu.parse(command + b"\0").case is Case.CASE_4S


def test_wrong_le_to_our_le_is_retried_by_us() -> None:
    adapter, command = t1(), bytes.fromhex(ANSWERS_DATA[0])
    adapter.command(command)
    assert adapter.answer(b"\x6c\x14") == Ask(command + b"\x14")
    assert adapter.answer(bytes(20) + b"\x90\x00") == Give(bytes(20) + b"\x90\x00")


def test_wrong_length_to_our_le_is_retried_once_without() -> None:
    adapter, command = t1(), bytes.fromhex(ANSWERS_DATA[0])
    adapter.command(command)
    assert adapter.answer(b"\x67\x00") == Ask(command)
    assert adapter.answer(b"\x67\x00") == Give(b"\x67\x00")


def test_a_card_that_never_likes_our_le_is_asked_twice_at_most() -> None:
    adapter = t1()
    adapter.command(bytes.fromhex(ANSWERS_DATA[0]))
    adapter.answer(b"\x6c\x14")
    assert adapter.answer(b"\x6c\x13") == Give(b"\x6c\x13")


@pytest.mark.parametrize("answer", [b"\x6c\x14", b"\x67\x00"])
def test_a_complaint_about_the_guests_own_le_is_the_guests(answer: bytes) -> None:
    adapter = t1()
    adapter.command(bytes.fromhex("00B0000000"))
    assert adapter.answer(answer) == Give(answer)


def test_wrong_le_with_data_is_an_answer() -> None:
    adapter = t1()
    adapter.command(bytes.fromhex(ANSWERS_DATA[0]))
    assert adapter.answer(b"data\x6c\x14") == Give(b"data\x6c\x14")


def test_a_failed_card_is_not_asked_again_for_the_next_command() -> None:
    adapter = t1()
    adapter.command(bytes.fromhex(ANSWERS_DATA[0]))
    adapter.drop()
    adapter.command(bytes.fromhex("00B0000000"))
    assert adapter.answer(b"\x67\x00") == Give(b"\x67\x00")
