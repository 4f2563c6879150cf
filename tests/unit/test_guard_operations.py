"""What a command is for a person who is asked, and that nothing is done before the answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helpers.cac import CacCard, pki
from helpers.guard_table import CAC, FOREIGN, HSMAUTH, OATH, OPENPGP, OTP, PIV, ROWS
from helpers.guarded import Guarded
from virtcard.card.guard.applications import Application, application_of
from virtcard.card.guard.commands import read
from virtcard.card.guard.guard import Guard
from virtcard.card.guard.operations import Operation, classify
from virtcard.card.guard.refusal import Reason
from virtcard.errors import CardError, CardWasReset

PIN, SIGN, DECRYPT = Operation.PIN, Operation.SIGN, Operation.DECRYPT
AUTHENTICATE, READ, ADMIN = Operation.AUTHENTICATE, Operation.READ, Operation.ADMIN

ANY_KEY = (SIGN, DECRYPT, ADMIN)
HIDDEN = (SIGN, DECRYPT, PIN, ADMIN)
VERIFY = "0020008008313233343536FFFF"
RSA_9A = "0087079A067C0482008100"
EC_SIGN = "0087119A097C0782008103010203"
EC_AGREE = "0087119D097C0782008503010203"
CHAIN_BEGINS = "1087079A0401020304"
CHAIN_ENDS = "0087079A0401020304"


@pytest.mark.parametrize(
    ("name", "command", "operations"),
    [
        (PIV, "00CB3FFF035C017E", (READ,)),
        (PIV, VERIFY, (PIN,)),
        (PIV, "00200080", (READ,)),  # SP 800-73-4 part 2, 3.2.1: without data it asks
        (PIV, "10200080023132", (PIN,)),
        (PIV, "0C200080023132", (PIN,)),
        (PIV, "0C200080", (PIN,)),  # what is wrapped cannot be seen to be nothing
        (PIV, RSA_9A, (SIGN, DECRYPT)),  # a block for an RSA key is one or the other, and only the guest knows
        (PIV, "0087079D067C0482008100", (DECRYPT, SIGN)),
        (PIV, "1087079D067C0482008100", (DECRYPT, SIGN)),
        (PIV, EC_SIGN, (SIGN,)),
        (PIV, "0087119D097C0782008103010203", (SIGN,)),
        (PIV, EC_AGREE, (DECRYPT,)),
        (PIV, "0087149A097C0782008503010203", (DECRYPT,)),
        (PIV, "108711 9A097C0782008503010203", (SIGN, DECRYPT)),
        (PIV, "0087119A037C0782", (SIGN, DECRYPT)),
        (PIV, "0087119A0A7C08820081018501FF00", (SIGN, DECRYPT)),
        (PIV, "0087119A0C7C0A8200810401020304850101", (SIGN, DECRYPT)),
        (PIV, "008703 9B047C028100", (ADMIN,)),
        (PIV, "00872704047C028100", (AUTHENTICATE,)),
        (PIV, "00240080", (PIN, ADMIN)),
        (PIV, "002C0080", (PIN, ADMIN)),
        (PIV, "0047009A", (ADMIN,)),
        (PIV, "00FE079A", (ADMIN,)),
        (PIV, "00F99A00", (READ,)),
        (CAC, "80428000020102", (SIGN, DECRYPT)),
        (CAC, "00428000020102", (SIGN, DECRYPT)),
        (CAC, "0052000002" + "0102", (READ,)),
        (CAC, "8052000002" + "0102", (READ,)),
        (CAC, "8058000002" + "0102", (ADMIN,)),
        (OPENPGP, "002A9E9A0401020304", (SIGN,)),
        (OPENPGP, "002A80860401020304", (DECRYPT,)),
        (OPENPGP, "008800000401020304", (AUTHENTICATE, SIGN)),  # SSH and TLS signatures
        (OPENPGP, "0047810002B600", (READ,)),
        (OPENPGP, "0047800002B600", (ADMIN,)),
        (FOREIGN, "002A9E000401020304", (SIGN,)),
        (FOREIGN, "002A00BE027F4E", (READ,)),
        (FOREIGN, "002A12340401020304", (SIGN, DECRYPT)),
        (FOREIGN, "00860000027C00", (AUTHENTICATE,)),  # PACE
        (FOREIGN, "0087079A067C0482008100", (SIGN, DECRYPT)),  # a PIV application that was selected as a file
        (FOREIGN, "00820001080102030405060708", (AUTHENTICATE,)),
        (FOREIGN, "A088000010" + "00" * 16, (AUTHENTICATE, SIGN)),
        (FOREIGN, "00D60000020102", (ADMIN,)),
        (FOREIGN, "A0D60000020102", (ADMIN,)),
        (FOREIGN, "00770000", ANY_KEY),  # an instruction of its own may well be a signature
        (FOREIGN, "80428000020102", ANY_KEY),  # as a CAC's is, which may be selected by default
        (FOREIGN, "0042000002" + "0102", ANY_KEY),
        (FOREIGN, "80D60000020102", ANY_KEY),
        (FOREIGN, "0087079B067C0482008100", ANY_KEY),  # PIV's number for the management key says nothing here
        (CAC, "B0428000020102", ANY_KEY),  # a class that nobody knows, and a card may pass over
        (PIV, "00428000020102", (ADMIN,)),
        (PIV, "00C20000020084", HIDDEN),  # a command in another one
        (FOREIGN, "00C30000020084", HIDDEN),
        (FOREIGN, "FF00000004D4420042", HIDDEN),  # what the reader's driver takes for itself
        (FOREIGN, "FFCA000000", (READ,)),
        (OATH, "00A20001027100", (AUTHENTICATE,)),
        (OATH, "00A40001027400", (AUTHENTICATE,)),
        (OATH, "00A30000027500", (PIN,)),
        (OTP, "00013000020102", (AUTHENTICATE,)),
        (OTP, "00011300", (READ,)),
        (OTP, "00010100020102", (ADMIN,)),
        (HSMAUTH, "00030000027100", (AUTHENTICATE, PIN)),
    ],
)
def test_commands_have_their_operations(name: str, command: str, operations: tuple[Operation, ...]) -> None:
    raw = bytes.fromhex(command)
    assert classify(application_of(bytes.fromhex(name)), read(raw)) == operations


def test_whatever_the_profile_read_lets_through_reads() -> None:
    for row in (row for row in ROWS if row.level == "read"):
        name = bytes.fromhex(row.name) if row.name != "?" else b""
        assert classify(application_of(name), read(row.command)) == (READ,), str(row)


class Person:
    """Answers, and notes what it was asked."""

    def __init__(self, *, yes: bool = True) -> None:
        self.yes = yes
        self.asked: list[Operation] = []

    def __call__(self, operation: Operation) -> bool:
        self.asked.append(operation)
        return self.yes


def with_person(person: Person, *ask_for: Operation, name: str = PIV) -> Guarded:
    guarded = Guarded(consent=person, ask_for=set(ask_for))
    guarded.select(name)
    return guarded


def test_a_no_is_6982_and_the_card_gets_nothing() -> None:
    person = Person(yes=False)
    guarded = with_person(person, SIGN)
    assert guarded.refuses(RSA_9A) == "6982"
    assert guarded.watcher.reasons == [Reason.CONSENT]
    assert person.asked == [SIGN]


def test_after_a_no_the_next_attempt_asks_again() -> None:
    person = Person(yes=False)
    guarded = with_person(person, SIGN)
    guarded.send(RSA_9A)
    person.yes = True
    assert guarded.passes(RSA_9A)


def test_a_yes_is_for_one_command() -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    for _ in range(3):
        assert guarded.passes(RSA_9A)
    assert person.asked == [SIGN] * 3


@pytest.mark.parametrize("again", [Guard.reset, Guard.power_on, Guard.power_off])
def test_a_chain_that_a_reset_cuts_off_is_asked_for_anew(again: Callable[[Guard], object]) -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    assert guarded.passes(CHAIN_BEGINS)
    again(guarded.guard)
    guarded.select(PIV)
    assert guarded.passes(CHAIN_ENDS)
    assert person.asked == [SIGN, SIGN]


@pytest.mark.parametrize("error", [CardWasReset("Another program reset the card."), CardError("It gave no answer.")])
def test_a_chain_in_which_the_card_fails_is_asked_for_anew(error: CardError) -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    assert guarded.passes(CHAIN_BEGINS)
    guarded.card.answers[bytes.fromhex(CHAIN_ENDS)] = error
    with pytest.raises(CardError):
        guarded.send(CHAIN_ENDS)
    guarded.select(PIV)
    del guarded.card.answers[bytes.fromhex(CHAIN_ENDS)]
    assert guarded.passes(CHAIN_ENDS)
    assert person.asked == [SIGN, SIGN]


@pytest.mark.parametrize(("first", "answer", "second"), [("00", "6c10", "10"), ("00", "6700", "")])
def test_a_command_of_which_the_card_wanted_another_length_is_asked_for_once(
    first: str, answer: str, second: str
) -> None:
    """Nothing was done. A bridge asks again by itself (tpdu), and a person would be asked twice for one signature."""
    person = Person()
    guarded = with_person(person, SIGN)
    guarded.card.answers[bytes.fromhex(EC_SIGN + first)] = bytes.fromhex(answer)
    assert guarded.send(EC_SIGN + first) == answer
    assert guarded.passes(EC_SIGN + second)
    assert person.asked == [SIGN]
    assert guarded.passes(EC_SIGN + second)
    assert person.asked == [SIGN] * 2


@pytest.mark.parametrize("between", [f"00A40400{len(name) // 2:02X}{name}" for name in (PIV, FOREIGN)])
def test_a_yes_to_a_command_of_another_length_ends_with_the_next_selection(between: str) -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    guarded.send(between)
    guarded.select(PIV)
    guarded.card.answers[bytes.fromhex(EC_SIGN + "00")] = bytes.fromhex("6c10")
    guarded.send(EC_SIGN + "00")
    guarded.send(between)
    guarded.select(PIV)
    guarded.send(EC_SIGN + "10")
    assert person.asked == [SIGN] * 2


def test_a_yes_to_a_command_of_another_length_is_none_to_other_data() -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    guarded.card.answers[bytes.fromhex(EC_SIGN + "00")] = bytes.fromhex("6c10")
    guarded.send(EC_SIGN + "00")
    assert guarded.passes(EC_SIGN[:-2] + "0410")
    assert person.asked == [SIGN] * 2


@pytest.mark.parametrize("again", [Guard.reset, Guard.power_on, Guard.power_off])
def test_a_yes_to_a_command_of_another_length_ends_with_a_reset(again: Callable[[Guard], object]) -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    guarded.card.answers[bytes.fromhex(EC_SIGN + "00")] = bytes.fromhex("6c10")
    guarded.send(EC_SIGN + "00")
    again(guarded.guard)
    guarded.select(PIV)
    assert guarded.passes(EC_SIGN + "10")
    assert person.asked == [SIGN] * 2


def test_a_yes_to_one_operation_is_none_to_another() -> None:
    person = Person()
    guarded = with_person(person, SIGN, PIN)
    assert guarded.passes(VERIFY)
    assert guarded.passes(RSA_9A)
    assert person.asked == [PIN, SIGN]


def test_who_is_asked_for_decryption_alone_hears_of_every_block_that_might_be_one() -> None:
    person = Person()
    guarded = with_person(person, DECRYPT)
    assert guarded.passes(EC_SIGN)
    assert person.asked == []
    assert guarded.passes(RSA_9A)
    assert person.asked == [DECRYPT]


def test_the_same_header_with_other_data_is_asked_for() -> None:
    person = Person(yes=False)
    guarded = with_person(person, DECRYPT)
    assert guarded.passes("0087119D097C0782008103010203")
    assert guarded.refuses(EC_AGREE) == "6982"


def test_a_question_for_tries_asks_nobody_and_a_pin_does() -> None:
    person = Person(yes=False)
    guarded = with_person(person, PIN)
    assert guarded.passes("00200080")
    assert guarded.refuses(VERIFY) == "6982"
    assert person.asked == [PIN]


def test_a_chain_is_one_operation() -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    for _ in range(2):
        assert guarded.passes(CHAIN_BEGINS)
        assert guarded.passes(CHAIN_BEGINS)
        assert guarded.passes(CHAIN_ENDS)
    assert person.asked == [SIGN, SIGN]


def test_a_chain_for_one_key_does_not_end_with_another() -> None:
    person = Person()
    guarded = with_person(person, SIGN)
    assert guarded.passes(CHAIN_BEGINS)
    assert guarded.passes("0087079C0401020304")
    assert person.asked == [SIGN, SIGN]


def test_the_parts_of_a_cacs_block_are_one_operation() -> None:
    person = Person()
    guarded = with_person(person, SIGN, name=CAC)
    for _ in range(2):
        assert guarded.passes("8042800002" + "0102")
        assert guarded.passes("8042000002" + "0102")
    assert person.asked == [SIGN, SIGN]


def test_what_the_profile_refuses_is_not_asked_for() -> None:
    person = Person()
    guarded = with_person(person, ADMIN, PIN)
    assert guarded.refuses("00240080" + "10" + "31" * 16) == "6d00"
    assert person.asked == []


def test_who_wants_to_be_asked_for_reading_is() -> None:
    person = Person()
    guarded = with_person(person, READ)
    person.asked.clear()
    guarded.select(PIV)
    guarded.select(PIV)
    guarded.send("00CB3FFF035C017E")
    guarded.send("00CB3FFF035C017E")
    assert person.asked == [READ] * 4


@pytest.mark.parametrize(
    ("command", "operations"),
    [
        ("00CB3FFF035C017E", {READ}),
        (VERIFY, {PIN}),
        ("80428000020102", {ADMIN, SIGN, DECRYPT}),  # a CAC's
        ("8052000002" + "0102", {READ, ADMIN, SIGN, DECRYPT}),
        ("002A9E9A0401020304", {SIGN}),
        ("00D60000020102", {ADMIN}),
        ("00030000027100", {READ, ADMIN, SIGN, DECRYPT, AUTHENTICATE, PIN}),  # HSMAUTH's password of a credential
    ],
)
def test_where_any_application_may_be_selected_a_command_may_be_what_it_is_in_any(
    command: str, operations: set[Operation]
) -> None:
    assert set(classify(Application.UNKNOWN, read(bytes.fromhex(command)))) == operations


SELECT_PKI = "00A4040007A0000000790100"
CAC_SIGN = "8042000008" + "01" * 8


@pytest.mark.parametrize(
    "way",
    [
        ["10B0000001" + "00", SELECT_PKI],  # a name that joins a chain: nobody knows what is selected then
        ["00A4040004A0000000", SELECT_PKI[:-2] + "00"],
        [SELECT_PKI, "00A4020002" + "0001"],
        [SELECT_PKI, "00A4000C023F00"],
        [],  # what is selected by default
    ],
)
def test_under_full_a_cac_signs_by_no_way_without_a_question(way: list[str]) -> None:
    person = Person(yes=False)
    cac = CacCard()
    guarded = Guarded(cac.card, "full", consent=person, ask_for={SIGN})
    assert cac.select(pki(0)).sw == 0x9000
    assert cac.verify() == 0x9000
    for command in way:
        guarded.send(command)
    assert guarded.send(CAC_SIGN) == "6982"
    assert person.asked == [SIGN]


def test_under_full_a_person_is_asked_all_the_same() -> None:
    person = Person(yes=False)
    guarded = Guarded(profile="full", consent=person, ask_for={SIGN})
    guarded.select(PIV)
    assert guarded.refuses(RSA_9A) == "6982"
