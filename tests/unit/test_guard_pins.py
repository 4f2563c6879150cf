"""The PIN guard: whatever a machine does, the card keeps its reserve of tries, and who knows the PIN gets in."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cac import CacCard, pki
from helpers.guard_table import CAC, CARD_MANAGER, FOREIGN, HSMAUTH, OPENPGP, PIV
from helpers.guarded import Guarded
from helpers.pin_cards import (
    CarelessCard,
    CostlyCard,
    HsmauthCard,
    KeyCard,
    OpenPgpCard,
    PaceCard,
    PinCard,
    SilentCard,
    SimCard,
    yubico_metadata,
)
from helpers.piv import PivCard, new_card
from helpers.wrong_pins import ATTEMPTS, ENCODINGS
from virtcard import limits
from virtcard.card.base import CardEvent
from virtcard.card.guard.guard import Guard
from virtcard.card.guard.ledger import PinLedgers
from virtcard.card.guard.refusal import Reason
from virtcard.errors import CardError, CardWasReset, NotSent

RIGHT, WRONG = "0020008004" + b"1234".hex(), "0020008004" + b"9999".hex()
PIV_RIGHT, PIV_WRONG = "0020008008313233343536FFFF", "0020008008393939393939FFFF"
STOPPED = "6983"


def selected(guarded: Guarded, name: str) -> Guarded:
    guarded.send(f"00A40400{len(name) // 2:02X}{name}")
    return guarded


@pytest.fixture
def piv(tmp_path: Path) -> PivCard:
    return new_card(tmp_path)


# What every card with a counter that it tells has in common


@pytest.mark.parametrize("name", [PIV, CAC, FOREIGN], ids=["piv", "cac", "other"])
@pytest.mark.parametrize("reserve", [1, 2, 3, 9])
def test_wrong_pins_stop_at_the_reserve(name: str, reserve: int) -> None:
    card = PinCard()
    guarded = selected(Guarded(card, reserve=reserve), name)
    pin = WRONG if name != CAC else WRONG.replace("2000800", "2000000", 1)
    answers = [guarded.send(pin) for _ in range(20)]
    assert answers[-1] == STOPPED
    assert card.lowest == min(reserve, 3)


@pytest.mark.parametrize("name", [PIV, FOREIGN], ids=["piv", "other"])
def test_the_right_pin_gets_in_and_gives_the_tries_back(name: str) -> None:
    card = PinCard()
    guarded = selected(Guarded(card, reserve=1), name)
    for _ in range(10):
        assert guarded.send(WRONG) == "63c2"
        assert guarded.send(RIGHT) == "9000"
        assert guarded.send(RIGHT) == "9000"
    assert card.left == 3


def test_nobody_hears_of_tries_that_are_there() -> None:
    guarded = selected(Guarded(PinCard(), reserve=1), PIV)
    guarded.send(WRONG)
    assert guarded.watcher.stopped == []
    assert guarded.watcher.reasons == []


def test_who_watches_hears_how_many_are_left() -> None:
    guarded = selected(Guarded(PinCard(), reserve=2), PIV)
    assert [guarded.send(WRONG) for _ in range(2)] == ["63c2", STOPPED]
    assert guarded.watcher.stopped == [2]
    assert guarded.watcher.reasons == [Reason.PIN]


def test_a_stopped_pin_does_not_reach_the_card() -> None:
    card = PinCard(tries=1)
    guarded = selected(Guarded(card, reserve=1), PIV)
    guarded.send(RIGHT)
    assert bytes.fromhex(RIGHT) not in card.commands


@pytest.mark.parametrize("name", [PIV, FOREIGN], ids=["piv", "other"])
def test_what_the_host_used_up_counts(name: str) -> None:
    card = PinCard()
    guarded = selected(Guarded(card, reserve=1), name)
    assert guarded.send(RIGHT) == "9000"
    card.host_fails(2)
    assert guarded.send(WRONG) == STOPPED
    assert card.left == 1


@pytest.mark.parametrize("name", [PIV, FOREIGN], ids=["piv", "other"])
def test_what_the_host_gave_back_counts(name: str) -> None:
    card = PinCard()
    guarded = selected(Guarded(card, reserve=1), name)
    assert [guarded.send(WRONG) for _ in range(3)] == ["63c2", "63c1", STOPPED]
    card.host_logs_in()
    assert guarded.send(WRONG) == "63c2"


def test_without_a_reserve_nothing_is_asked() -> None:
    card = PinCard()
    guarded = selected(Guarded(card, reserve=0), PIV)
    assert [guarded.send(WRONG) for _ in range(4)] == ["63c2", "63c1", "63c0", STOPPED]
    assert card.questions == 0


def test_a_question_of_the_guests_own_passes() -> None:
    guarded = selected(Guarded(PinCard(tries=1), reserve=1), PIV)
    assert guarded.send("00200080") == "63c1"
    assert guarded.send("0020008000") == "63c1"


# Two machines


def test_two_machines_share_the_reserve() -> None:
    card, ledgers = PinCard(), PinLedgers()
    one, other = (selected(Guarded(card, reserve=1, ledgers=ledgers), FOREIGN) for _ in range(2))
    assert [one.send(WRONG), other.send(WRONG), one.send(WRONG), other.send(WRONG)] == ["63c2", "63c1"] + [STOPPED] * 2


def test_two_machines_share_what_is_counted() -> None:
    card, ledgers = SilentCard(), PinLedgers()
    one, other = (selected(Guarded(card, reserve=1, ledgers=ledgers), FOREIGN) for _ in range(2))
    assert [one.send(WRONG), other.send(WRONG), one.send(WRONG), other.send(WRONG)] == ["6300"] * 2 + [STOPPED] * 2
    assert card.left == 1


def test_machines_that_try_at_the_same_time_do_not_pass_each_other() -> None:
    """Each of them would be let through alone: a question is put long before the try that it allows."""
    card, ledgers = HesitantCard(), PinLedgers()
    machines = [selected(Guarded(card, reserve=1, ledgers=ledgers), PIV) for _ in range(4)]
    threads = [threading.Thread(target=machine.send, args=(PIV_WRONG,)) for machine in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert card.lowest == 1


def test_a_machine_whose_pin_takes_for_ever_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_PATIENCE", 0.01)
    ledgers = PinLedgers()
    guarded = selected(Guarded(PinCard(), reserve=1, ledgers=ledgers), PIV)
    with ledgers.of("a reader", guarded.card.atr).turn(), pytest.raises(CardError, match="Another virtual machine"):
        guarded.send(PIV_WRONG)
    assert guarded.send(PIV_WRONG) == "63c2"


class HesitantCard(PinCard):
    """Takes its time over questions, so that all may ask before anybody tries."""

    def asked(self) -> bytes:
        status = super().asked()
        threading.Event().wait(0.05)
        return status


# Ways to send a PIN

NAMES = [PIV, CAC, OPENPGP, FOREIGN, "A0000003"]


def test_a_pin_by_the_number_of_the_puk_is_asked_for_as_a_pin() -> None:
    """On a card that looks at no number, and whose counter the host lowered."""
    card = CarelessCard()
    card.host_fails(2)
    guarded = selected(Guarded(card, reserve=1), PIV)
    assert guarded.send("0020008108393939393939FFFF") == STOPPED
    assert card.left == 1


@pytest.mark.parametrize("command", ["00200080", "00200000", "00240080"])
def test_an_openpgp_card_that_looks_at_no_number_keeps_its_reserve(command: str) -> None:
    card = CarelessCard()
    card.host_fails(2)
    guarded = selected(Guarded(card, profile="full", reserve=1), OPENPGP)
    assert guarded.send(f"{command}06393939393939") == STOPPED
    assert card.left == 1


def test_one_puk_of_all_applications_is_counted_once() -> None:
    card = CarelessCard()
    guarded = Guarded(card, profile="full", reserve=1)
    for name in (PIV, FOREIGN, CAC) * 3:
        selected(guarded, name)
        guarded.send("002C008010" + "39" * 16)
    assert card.least() == 1


@pytest.mark.parametrize("name", NAMES, ids=["piv", "cac", "pgp", "other", "unknown"])
@pytest.mark.parametrize("profile", ["use", "full"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_encoding_gets_past_the_reserve(encoding: str, profile: str, name: str) -> None:
    card = CarelessCard()
    guarded = selected(Guarded(card, profile=profile, reserve=1), name)
    for _ in range(12):
        guarded.send(ENCODINGS[encoding])
    assert card.least() >= 1


@settings(deadline=None)
@given(
    profile=st.sampled_from(["use", "full"]),
    reserve=st.integers(1, 3),
    name=st.sampled_from(NAMES),
    commands=st.lists(st.sampled_from(ATTEMPTS), max_size=30),
)
def test_no_mixture_of_encodings_gets_past_the_reserve(
    profile: str, reserve: int, name: str, commands: list[bytes]
) -> None:
    card = CarelessCard()
    guarded = selected(Guarded(card, profile=profile, reserve=reserve), name)
    for command in commands:
        guarded.send(command)
    assert card.least() >= reserve


@pytest.mark.parametrize(
    ("encoding", "answer"),
    [
        ("first part of a chain", "6884"),
        ("secured", "6882"),
        ("secured, without data", "6882"),
        ("Lc too short", "6700"),
        ("Lc too long", "6700"),
        ("Lc of nothing", "6700"),
        ("P1", "6982"),
        ("P1 of a logout, with data", "6982"),
        ("channel 1", "6881"),
        ("reserved class", "6e00"),
    ],
)
def test_an_encoding_that_can_be_read_in_two_ways_is_refused(encoding: str, answer: str) -> None:
    guarded = selected(Guarded(reserve=1), PIV)
    assert guarded.refuses(ENCODINGS[encoding]) == answer


def test_a_pin_for_an_application_that_is_not_known_is_refused() -> None:
    guarded = selected(Guarded(profile="full", reserve=1), "A0000003")
    assert guarded.refuses(PIV_RIGHT) == "6985"


def test_a_logout_is_no_attempt() -> None:
    card = PinCard(tries=1)
    assert selected(Guarded(card, reserve=1), PIV).send("0020FF80") == "63c1"


# PIV


def test_a_piv_card_keeps_its_reserve_and_lets_its_holder_in(piv: PivCard) -> None:
    guarded = selected(Guarded(piv.card, reserve=1), PIV)
    assert guarded.send(PIV_RIGHT) == "9000"
    assert guarded.send(PIV_RIGHT) == "9000"
    assert [guarded.send(PIV_WRONG) for _ in range(4)] == ["63c2", "63c1", STOPPED, STOPPED]
    assert piv.pins.pin_tries_left == 1


def test_the_puk_of_a_piv_card_has_the_same_reserve(piv: PivCard) -> None:
    """By Yubico's metadata; CHANGE REFERENCE DATA and RESET RETRY COUNTER both try it."""
    guarded = selected(Guarded(piv.card, profile="full", reserve=1), PIV)
    unblock = "002C0080103939393939393939" + "313233343536FFFF"
    change = "0024008110" + "39" * 8 + "38" * 8
    assert [guarded.send(one) for one in (unblock, change, unblock, change)] == ["63c2", "63c1", STOPPED, STOPPED]
    assert piv.pins.puk_tries_left == 1
    assert guarded.send(PIV_RIGHT) == "9000"


def test_changing_a_piv_pin_tries_the_pin(piv: PivCard) -> None:
    guarded = selected(Guarded(piv.card, profile="full", reserve=2), PIV)
    change = "0024008010393939393939FFFF383838383838FFFF"
    assert [guarded.send(change), guarded.send(change), guarded.send(PIV_WRONG)] == ["63c2", STOPPED, STOPPED]


def test_the_puk_of_a_card_without_metadata_is_counted() -> None:
    guarded = selected(Guarded(profile="full", reserve=1), PIV)
    guarded.card.default = lambda command: b"\x6d\0" if command[1] == 0xF7 else b"\x63\xc9"
    assert guarded.send("002C008010" + "39" * 16) == "63c9"


def test_metadata_say_how_many_are_left_of_the_puk() -> None:
    guarded = selected(Guarded(profile="full", reserve=1), PIV)
    guarded.card.default = lambda command: yubico_metadata(1) if command[1] == 0xF7 else b"\x90\0"
    assert guarded.send("002C008010" + "39" * 16) == STOPPED


@pytest.mark.parametrize(("name", "command"), [(PIV, "00FA0103"), (PIV, "00FA0301"), (OPENPGP, "00F2000003030103")])
def test_nobody_sets_the_tries_below_the_reserve(name: str, command: str) -> None:
    assert selected(Guarded(profile="full", reserve=2), name).refuses(command) == "6982"
    assert selected(Guarded(profile="full", reserve=1), name).passes(command)


def test_questions_go_on_the_channel_of_the_attempt() -> None:
    guarded = Guarded(reserve=1)
    guarded.card.default = lambda command: b"\x04\x90\0" if command[1] == 0x70 else b"\x63\xc3"
    guarded.send("0070000001")
    guarded.card.default = b"\x90\0"
    guarded.send("40A4040005A000000308")
    guarded.card.commands.clear()
    guarded.send("40" + PIV_WRONG[2:])
    assert guarded.card.commands == [bytes.fromhex("40200080"), bytes.fromhex("40" + PIV_WRONG[2:])]


# CAC


def test_a_cac_card_keeps_its_reserve_and_lets_its_holder_in() -> None:
    card = CacCard()
    guarded = selected(Guarded(card.card, reserve=1), pki(0).hex())
    right, wrong = "00200000043132 3334", "0020000004 39393939"
    assert guarded.send(right) == "9000"
    assert [guarded.send(wrong) for _ in range(4)] == ["63c2", "63c1", STOPPED, STOPPED]
    assert card.token.tries_left == 1


# OpenPGP


def test_an_openpgp_card_tells_by_its_status_bytes() -> None:
    card = OpenPgpCard()
    guarded = selected(Guarded(card, reserve=1), OPENPGP)
    pw1 = ["0020008106" + "39" * 6, "0020008206" + "39" * 6]
    assert [guarded.send(pw1[at % 2]) for at in range(4)] == ["63c2", "63c1", STOPPED, STOPPED]
    assert card.left == 1


def test_an_openpgp_card_tells_while_its_pin_is_verified() -> None:
    card = OpenPgpCard()
    guarded = selected(Guarded(card, reserve=2), OPENPGP)
    assert guarded.send("0020008104" + b"1234".hex()) == "9000"
    assert [guarded.send("0020008106" + "39" * 6) for _ in range(2)] == ["63c2", STOPPED]


@pytest.mark.parametrize(
    ("command", "left"), [("0020008306", 3), ("002400830C", 3), ("002C00810C", 3), ("002400810C", 1)]
)
def test_each_password_of_an_openpgp_card_has_its_own_counter(command: str, left: int) -> None:
    card = OpenPgpCard()
    card.left = 1
    guarded = selected(Guarded(card, profile="full", reserve=1), OPENPGP)
    size = int(command[-2:], 16)
    assert (guarded.send(command + "39" * size) == STOPPED) is (left == 1)


def test_an_admin_who_resets_pw1_tries_nothing() -> None:
    card = OpenPgpCard()
    card.left = 1
    guarded = selected(Guarded(card, profile="full", reserve=1), OPENPGP)
    assert guarded.send("002C028106" + "31" * 6) == "9000"


# Cards that tell in other ways, or not at all


def test_a_card_that_takes_questions_for_tries_is_asked_twice_and_never_again() -> None:
    card = CostlyCard(tries=8)
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    assert guarded.send(RIGHT) == "9000"
    assert card.questions == 2
    for _ in range(20):
        guarded.send(WRONG)
    assert card.questions == 2
    assert card.left == 1
    assert guarded.watcher.stopped[-1] == 1


@pytest.mark.parametrize("tries", range(2, 9))
@pytest.mark.parametrize("reserve", [1, 2])
def test_a_card_that_takes_questions_for_tries_keeps_its_reserve(tries: int, reserve: int) -> None:
    card = CostlyCard(tries)
    guarded = selected(Guarded(card, reserve=reserve), FOREIGN)
    for command in ("00200080", WRONG, "00200080", WRONG) * 5:
        guarded.send(command)
    assert card.lowest >= min(reserve, tries - 1)


def test_a_guests_own_question_may_be_the_costly_one() -> None:
    card = CostlyCard(tries=3)
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    answers = [guarded.send("00200080") for _ in range(5)]
    assert answers[-1] == STOPPED
    assert card.left == 1


def test_a_guests_own_question_is_free_where_questions_are() -> None:
    card = PinCard(tries=3)
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    assert [guarded.send("00200080") for _ in range(50)] == ["63c3"] * 50
    card.host_fails(2)
    assert guarded.send("00200080") == "63c1"


def test_a_card_that_was_taken_out_is_asked_once_more() -> None:
    """Found with one try left it might have been a card whose questions cost one; a person saw to it meanwhile."""
    card = PinCard()
    card.host_fails(2)
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    guarded.guard.listen(lambda _event: None)
    assert [guarded.send(WRONG) for _ in range(3)] == [STOPPED] * 3
    assert card.questions == 1
    card.host_logs_in()
    assert guarded.send(RIGHT) == STOPPED
    card.report(CardEvent.REMOVED)
    assert guarded.send(RIGHT) == "9000"


def test_events_reach_the_bridge() -> None:
    heard: list[CardEvent] = []
    guarded = Guarded(reserve=1)
    guarded.guard.listen(heard.append)
    guarded.card.report(CardEvent.INSERTED)
    guarded.card.report(CardEvent.REMOVED)
    assert heard == [CardEvent.INSERTED, CardEvent.REMOVED]
    guarded.guard.listen(None)
    assert guarded.card.listener is None


@pytest.mark.parametrize(("reserve", "lowest"), [(1, 1), (2, 2), (3, 3)])
def test_a_card_that_tells_nothing_is_taken_for_one_with_three_tries(reserve: int, lowest: int) -> None:
    card = SilentCard()
    guarded = selected(Guarded(card, reserve=reserve), FOREIGN)
    for _ in range(6):
        guarded.send(WRONG)
    assert card.lowest == lowest


def test_a_card_that_tells_nothing_has_one_count_for_all_references() -> None:
    card = SilentCard()
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    for reference in range(256):
        guarded.send(f"002000{reference:02X}0439393939")
    assert card.left == 1


def test_the_right_pin_clears_the_count() -> None:
    card = SilentCard()
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    for _ in range(5):
        assert guarded.send(WRONG) == "6300"
        assert guarded.send(RIGHT) == "9000"


def test_the_count_outlives_the_bridge_and_a_reset() -> None:
    card, ledgers = SilentCard(), PinLedgers()
    for _ in range(4):
        guarded = selected(Guarded(card, reserve=1, ledgers=ledgers), FOREIGN)
        guarded.send(WRONG)
        Guard.reset(guarded.guard)
        guarded.send(WRONG)
    assert card.left == 1


def test_a_command_that_the_card_does_not_know_is_no_try() -> None:
    guarded = selected(Guarded(reserve=1), FOREIGN)
    guarded.card.default = b"\x6a\x88"
    assert [guarded.send(WRONG) for _ in range(9)] == ["6a88"] * 9


def test_a_try_without_an_answer_counts() -> None:
    guarded = selected(Guarded(reserve=1), FOREIGN)
    guarded.card.default = b"\x6d\0"
    guarded.card.answers[bytes.fromhex(WRONG)] = CardError("The card failed.")
    for _ in range(2):
        with pytest.raises(CardError):
            guarded.send(WRONG)
    assert guarded.send(WRONG) == STOPPED


@pytest.mark.parametrize("header", ["00240081", "00250081", "00280081", "00290081", "00260081", "A4280081"])
def test_what_is_about_the_puk_is_no_way_round_a_careless_cards_pin(header: str) -> None:
    """It looks at the instruction alone, and compares with its PIN."""
    card = CarelessCard()
    card.left = 1
    guarded = selected(Guarded(card, "full", reserve=1), PIV)
    assert guarded.send(f"{header}10{'39' * 16}") == STOPPED
    assert card.left == 1


def test_a_puk_is_changed_while_there_are_tries_of_the_pin() -> None:
    guarded = selected(Guarded(profile="full", reserve=1), PIV)
    guarded.card.answers[bytes.fromhex("00200081")] = b"\x6a\x88"
    assert guarded.send(f"0024008110{'39' * 16}") == "9000"


def test_a_question_without_an_answer_may_have_cost_a_try_and_is_not_put_again() -> None:
    guarded = selected(Guarded(reserve=1), FOREIGN)
    guarded.card.answers[bytes.fromhex("00200080")] = CardError("The card failed.")
    guarded.card.answers[bytes.fromhex(WRONG)] = b"\x63\0"
    with pytest.raises(CardError):
        guarded.send(WRONG)
    assert [guarded.send(WRONG) for _ in range(2)] == ["6300", STOPPED]
    assert guarded.card.commands.count(bytes.fromhex("00200080")) == 1


@pytest.mark.parametrize("error", [CardWasReset("Another program reset the card."), NotSent("Nobody waits for it.")])
def test_a_try_that_never_reached_the_card_does_not_count(error: CardError) -> None:
    guarded = selected(Guarded(reserve=1), FOREIGN)
    guarded.card.default = b"\x6d\0"
    guarded.card.answers[bytes.fromhex(WRONG)] = error
    for _ in range(5):
        with pytest.raises(type(error)):
            guarded.send(WRONG)


def test_a_command_that_was_not_sent_leaves_selected_what_was() -> None:
    guarded = selected(Guarded(), PIV)
    other = bytes.fromhex(f"00A40400{len(OPENPGP) // 2:02X}{OPENPGP}")
    guarded.card.answers[other] = NotSent("Nobody waits for it.")
    with pytest.raises(NotSent):
        guarded.send(other)
    assert guarded.passes("00CB3FFF055C035FC102")


def test_a_reset_while_the_card_is_asked_is_told() -> None:
    guarded = selected(Guarded(reserve=1), PIV)
    guarded.card.answers[bytes.fromhex("00200080")] = CardWasReset("Another program reset the card.")
    with pytest.raises(CardWasReset):
        guarded.send(PIV_WRONG)
    assert bytes.fromhex(PIV_WRONG) not in guarded.card.commands


def test_an_answer_in_parts_is_put_together() -> None:
    guarded = selected(Guarded(reserve=1), OPENPGP)
    guarded.card.answers = {
        bytes.fromhex("00CA00C400"): bytes.fromhex("6107"),
        bytes.fromhex("00C0000007"): bytes.fromhex("007F7F7F0103039000"),
    }
    assert guarded.send("0020008106" + "39" * 6) == STOPPED


def test_a_card_that_announces_more_for_ever_is_left() -> None:
    guarded = selected(Guarded(reserve=1), PIV)
    guarded.card.default = b"\x61\x10"
    assert guarded.send(PIV_WRONG) == "6110"


def test_a_sim_tells_by_its_status() -> None:
    card = SimCard()
    guarded = Guarded(card, reserve=1)
    chv = "A020000108" + "39" * 4 + "FF" * 4
    assert [guarded.send(chv) for _ in range(4)] == ["9804", "9804", STOPPED, STOPPED]
    assert card.left == 1


# Keys

HSMAUTH_TRIES = [
    *("00030000027100", "000B0000027B00"),  # CALCULATE, and a change of the password that goes by the password
    *("00010000027100", "00020000027100", "00080000027B00", "000B0100027B00"),  # what the management key is for
]


@pytest.mark.parametrize(("name", "profile"), [(FOREIGN, "use"), (CARD_MANAGER, "full")])
def test_keys_that_are_not_told_of_have_ten_tries(name: str, profile: str) -> None:
    card = KeyCard()
    guarded = selected(Guarded(card, profile=profile, reserve=1), name)
    for number in range(20):
        guarded.send(f"008200{number if name == CARD_MANAGER else 1:02X}080102030405060708")
    assert card.left == 1


def test_the_management_key_of_a_piv_card_is_counted() -> None:
    guarded = selected(Guarded(profile="full", reserve=1), PIV)
    guarded.card.default = lambda command: b"\x69\x82" if len(command) > 9 else b"\x90\0"
    answers = [guarded.send("00870A9B0C7C0A82080102030405060708") for _ in range(12)]
    assert answers.count("6982") == 9
    assert guarded.passes("00870A9B047C028100")


def test_a_credential_of_hsmauth_tells_by_its_answers() -> None:
    guarded = selected(Guarded(reserve=1), HSMAUTH)
    guarded.card.default = lambda command: b"\x63\xc2"
    assert guarded.send("00030000027100") == "63c2"
    guarded.card.default = lambda command: b"\x63\xc1"
    assert [guarded.send("00030000027100") for _ in range(2)] == ["63c1", STOPPED]


def test_the_password_and_the_management_key_of_hsmauth_stop_at_the_reserve_each() -> None:
    card = HsmauthCard()
    guarded = selected(Guarded(card, profile="full", reserve=1), HSMAUTH)
    for number in range(40):
        guarded.send(HSMAUTH_TRIES[number % len(HSMAUTH_TRIES)])
    assert card.left == {"password": 1, "management key": 1}
    assert guarded.send("00080000027B00") == STOPPED


def test_hsmauth_is_asked_for_the_tries_of_its_management_key_that_the_host_used_up() -> None:
    card = HsmauthCard()
    card.left["management key"] = 1
    guarded = selected(Guarded(card, profile="full", reserve=1), HSMAUTH)
    assert guarded.send("00010000027100") == STOPPED
    assert card.left["management key"] == 1


def test_hsmauth_is_asked_for_the_tries_of_a_password_that_the_host_used_up() -> None:
    card = HsmauthCard()
    card.left["password"], card.others = 1, {b"b": 8}
    guarded = selected(Guarded(card, reserve=1), HSMAUTH)
    assert guarded.send("0003000003" + "710161") == STOPPED
    assert guarded.send("0003000003" + "710163") == STOPPED  # of one that is not there: as of the lowest
    assert card.left["password"] == 1


def test_hsmauths_credentials_have_a_counter_each() -> None:
    card = HsmauthCard()
    card.others = {b"b": 1}
    guarded = selected(Guarded(card, reserve=1), HSMAUTH)
    assert guarded.send("0003000003" + "710162") == STOPPED
    assert [guarded.send("0003000003" + "710161") for _ in range(8)][-2:] == ["63c1", STOPPED]


def test_no_secret_of_hsmauth_is_tried_while_it_may_be_selected_unseen() -> None:
    card = HsmauthCard()
    guarded = selected(Guarded(card, profile="full", reserve=1), HSMAUTH[:12])
    answers = {guarded.send(command) for _ in range(15) for command in HSMAUTH_TRIES}
    assert answers == {"6985"}
    assert card.left == {"password": 8, "management key": 8}


# PACE

SET_PIN, SET_CAN = "0022C1A4038301 03", "0022C1A4038301 02"
STEPS = ["10860000027C00", "10860000027C00", "0086000006" + b"999999".hex()]


def test_pace_with_the_pin_stops_at_the_reserve() -> None:
    card = PaceCard()
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    answers = [[guarded.send(command) for command in (SET_PIN, *STEPS)] for _ in range(4)]
    assert answers[0] == ["9000", "9000", "9000", "63c2"]
    assert answers[-1] == ["63c1", STOPPED, STOPPED, STOPPED]
    assert card.left == 1


def test_pace_with_the_pin_counts_what_the_host_used_up() -> None:
    card = PaceCard()
    card.host_fails(2)
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    assert [guarded.send(command) for command in (SET_PIN, STEPS[0])] == ["63c1", STOPPED]


def test_pace_with_the_number_on_the_card_is_free() -> None:
    card = PaceCard()
    card.host_fails(2)
    guarded = selected(Guarded(card, reserve=1), FOREIGN)
    assert [guarded.send(command) for command in (SET_CAN, *STEPS)][:3] == ["63c1", "9000", "9000"]


@pytest.mark.parametrize(
    ("command", "answer"),
    [("0022C1A406830103830102", "6a80"), ("0022C1A4028303", "6a80"), ("0C22C1A403830103", "6882")],
)
def test_pace_with_a_password_that_is_not_clear_is_refused(command: str, answer: str) -> None:
    assert selected(Guarded(reserve=1), FOREIGN).refuses(command) == answer


# Ten thousand


def test_ten_thousand_wrong_pins_in_every_encoding_leave_a_piv_card_at_its_reserve(piv: PivCard) -> None:
    guarded = selected(Guarded(piv.card, profile="full", reserve=1), PIV)
    for number in range(10_000):
        guarded.send(ATTEMPTS[number % len(ATTEMPTS)])
        if number % 97 == 0:
            guarded.guard.reset()
            selected(guarded, PIV)
    assert (piv.pins.pin_tries_left, piv.pins.puk_tries_left) == (1, 1)
    assert guarded.watcher.stopped
    piv.select()
    assert piv.verify() == 0x9000


def test_ten_thousand_wrong_pins_in_every_encoding_leave_a_cac_card_at_its_reserve() -> None:
    card = CacCard()
    attempts = [*ATTEMPTS, *(bytes((*command[:3], 0, *command[4:])) for command in ATTEMPTS)]
    guarded = selected(Guarded(card.card, profile="full", reserve=1), CAC)
    for number in range(10_000):
        guarded.send(attempts[number % len(attempts)])
        if number % 97 == 0:
            guarded.guard.reset()
            selected(guarded, CAC)
    assert card.token.tries_left == 1
