"""Which commands log somebody in, leave something unfinished, or change the card."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.card.lease.watch import Watch

DONE = bytes.fromhex("9000")


def watched(command: str, answer: str = "9000") -> Watch:
    watch = Watch()
    watch.note(bytes.fromhex(command), bytes.fromhex(answer))
    return watch


@pytest.mark.parametrize(
    "command",
    [
        "00a4040009a00000030800001000",  # SELECT PIV
        "00b0000010",
        "00b2010400",
        "00cb3fff055c035fc102",  # GET DATA, a PIV certificate
        "00ca006e00",  # OpenPGP application related data
        "00c0000010",
        "0084000008",
        "0022410603800101",
        "002a9e9a0400010203",  # OpenPGP PSO: compute digital signature
        "002a80860400010203",  # decipher
        "0088000004aabbccdd",
        "0087119e04aabbccdd",  # PIV GENERAL AUTHENTICATE with the card authentication key
        "0087079a04aabbccdd",
        "00f7009a00",  # YubiKey metadata
        "00fd000000",
        "80ca006600",  # GlobalPlatform GET DATA
        "80f24000024f00",
        "a0a40000023f00",  # GSM SELECT
        "00700000",
    ],
)
def test_reading_and_key_use_log_nobody_in(command: str) -> None:
    assert not watched(command).login


@pytest.mark.parametrize(
    "command",
    [
        "0020008008313233343536ffff",  # PIV VERIFY
        "0020008206313233343536",  # OpenPGP VERIFY, PW1 for everything else
        "00200080",  # asks whether somebody is logged in
        "002400800c313131313131323232323232",  # CHANGE REFERENCE DATA
        "002c008108313131313131313131",  # RESET RETRY COUNTER
        "0087039b0c7c0a80088899aabbccddeeff",  # PIV GENERAL AUTHENTICATE, management key
        "0082000008aabbccddeeff0011",  # EXTERNAL AUTHENTICATE
        "8482010010" + "00" * 16,  # GlobalPlatform EXTERNAL AUTHENTICATE
        "8050000008" + "00" * 8,  # INITIALIZE UPDATE
        "0086000002" + "7c00",  # PACE
        "0086000004aabbccdd",
        "0c200080080011223344556677",  # VERIFY under secure messaging
        "0ca4040c02aabb",  # anything under secure messaging
        "002a00be04aabbccdd",  # VERIFY CERTIFICATE
        "a020000108" + "31" * 8,  # GSM VERIFY CHV
        "00a3000000",  # YubiKey OATH VALIDATE
        "8020000008" + "31" * 8,
        "80160000",  # whatever this is
        "00210000",
        "102000800431323334",  # the first half of a PIN
    ],
)
def test_whatever_may_log_in_counts_as_a_login(command: str) -> None:
    assert watched(command).login


@pytest.mark.parametrize("answer", ["63c2", "6300", "6982", "6983", "6a80", "6d00", "6700", "6c10"])
def test_command_that_failed_logs_nobody_in(answer: str) -> None:
    assert not watched("0020008008313233343536ffff", answer).login


@pytest.mark.parametrize("answer", ["9000", "6108", "6200", "9100", "9f10", "abcd9000"])
def test_every_success_counts(answer: str) -> None:
    assert watched("0020008008313233343536ffff", answer).login


def test_command_without_an_answer_may_have_logged_in_and_written() -> None:
    watch = Watch()
    watch.unanswered(bytes.fromhex("0020008008313233343536ffff"))
    assert (watch.login, watch.changed) == (True, False)
    watch.unanswered(bytes.fromhex("00db3fff0400010203"))
    assert watch.changed


def test_harmless_command_without_an_answer_logs_nobody_in_and_leaves_nothing_open() -> None:
    watch = watched("00cb3fff055c035fc102", "aabb6110")
    watch.unanswered(bytes.fromhex("00c0000010"))
    assert (watch.login, watch.changed, watch.open) == (False, False, False)


def test_login_stays_until_a_reset_whatever_comes_after() -> None:
    watch = watched("0020008008313233343536ffff")
    watch.note(bytes.fromhex("0020008008313233343536ffff"), bytes.fromhex("63c2"))
    watch.note(bytes.fromhex("00a4040009a00000030800001000"), DONE)
    assert watch.login
    watch.was_reset()
    assert not watch.login


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("1087079a0400010203", "9000"),  # the first command of a chain
        ("10db3fff0400010203", "9000"),
        ("00cb3fff055c035fc102", "aabb6110"),
        ("a0a40000023f00", "9f17"),  # GSM: GET RESPONSE is to follow
        ("00c0000010", "aabb6105"),
    ],
)
def test_chain_and_announced_answer_are_unfinished(command: str, answer: str) -> None:
    assert watched(command, answer).open


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("0087079a0400010203", "9000"),  # the last one
        ("1087079a0400010203", "6985"),  # a chain that the card refused
        ("00c0000010", "aabb9000"),
        ("00cb3fff055c035fc102", "6c10"),  # the whole command comes again
    ],
)
def test_what_is_done_or_refused_is_finished(command: str, answer: str) -> None:
    watch = watched("1087079a0400010203")
    watch.note(bytes.fromhex(command), bytes.fromhex(answer))
    assert not watch.open


@pytest.mark.parametrize(
    "command",
    [
        "00db3fff0400010203",  # PUT DATA
        "00da010104aabbccdd",
        "00d6000004aabbccdd",
        "0047009a05ac03800107",  # PIV GENERATE ASYMMETRIC KEY PAIR
        "0047800002b600",  # OpenPGP, generate
        "00fe079a04aabbccdd",  # YubiKey IMPORT KEY
        "80e40000094f07a0000000000001",
        "84e80000040011223344"[:18],
    ],
)
def test_writing_changes_the_card(command: str) -> None:
    assert watched(command).changed
    assert not watched(command, "6982").changed


@pytest.mark.parametrize("command", ["0047810002b600", "00cb3fff055c035fc102", "0020008008313233343536ffff"])
def test_reading_a_public_key_and_logging_in_change_nothing(command: str) -> None:
    assert not watched(command).changed


def test_reset_takes_nothing_back_that_was_written() -> None:
    watch = watched("00db3fff0400010203")
    watch.was_reset()
    assert watch.changed


@given(st.binary(min_size=4, max_size=20), st.binary(min_size=2, max_size=4))
def test_any_command_and_answer_can_be_watched(command: bytes, answer: bytes) -> None:
    Watch().note(command, answer)
