"""Ways around a command filter, and that they end in a refusal: lengths, classes, chains, channels, names in part."""

from __future__ import annotations

import pytest

from helpers.guard_table import CAC, FOREIGN, HSMAUTH, OATH, OPENPGP, PIV
from helpers.guarded import Commands, Guarded, answering
from virtcard.card.guard.guard import Guard
from virtcard.card.guard.profile import compile_profile
from virtcard.card.guard.refusal import Reason
from virtcard.errors import CardError, CardWasReset

SIGN = "0087079C067C0482008100"
PUT_DATA = "00DB3FFF035C017E"
GENERATE = "0047009A05AC03800111"
NO_SIGNATURES = (Commands("A000000308", deny=("87xx9C",)),)
"""An admin's table: this machine may log in with the PIV card, and not sign."""


def piv(**options: object) -> Guarded:
    guarded = Guarded(**options)  # type: ignore[arg-type]
    guarded.select(PIV)
    return guarded


# Lengths


@pytest.mark.parametrize(
    "command",
    [
        "",
        "00",
        "00CB3F",
        "00CB3FFF055C035FC1",  # Lc longer than the data
        "00CB3FFF025C035FC102",  # Lc shorter: a T=0 card takes the rest for a Le, or for the next command
        "00CB3FFF035C017E0000",  # two bytes behind short data
        "00CB3FFF0000",  # cut within an extended length
        "00CB3FFF00000300",
        "00CB3FFF0000035C017E00",  # one byte behind extended data
        "00CB3FFF000000005C",
        "00CB3FFF055C035FC1020000A4040000",  # another command behind it
    ],
)
def test_a_command_whose_lengths_do_not_add_up_is_refused(command: str) -> None:
    guarded = piv()
    assert guarded.passes("00CB3FFF035C017E")  # the header goes the short way from now on
    assert guarded.refuses(command) == "6700"


def test_the_longest_command_passes_and_a_longer_one_does_not() -> None:
    guarded = Guarded()
    assert guarded.passes(bytes.fromhex("00CB3FFF00FFFF") + bytes(65_535) + b"\0\0")
    assert guarded.refuses(bytes.fromhex("00CB3FFF00FFFF") + bytes(65_538)) == "6700"


def test_an_extended_length_changes_nothing() -> None:
    guarded = piv()
    assert guarded.passes("00CB3FFF0000035C017E0000")
    assert guarded.refuses("00DB3FFF0000035C017E0000") == "6d00"


def test_a_name_with_an_extended_length_is_read() -> None:
    guarded = Guarded()
    assert guarded.passes("00A4040000000BA0000003080000100001000000")
    assert guarded.refuses("00B0000000") == "6d00"


# Classes


@pytest.mark.parametrize("cla", [*range(0x20, 0x40), *range(0xA1, 0x100)])
def test_classes_that_nobody_knows_are_refused(cla: int) -> None:
    assert piv().refuses(bytes((cla,)) + bytes.fromhex("CB3FFF035C017E")) == "6e00"


@pytest.mark.parametrize("cla", [0x04, 0x08, 0x0C, 0x10, 0x1C])
def test_class_bits_do_not_unlock_an_instruction(cla: int) -> None:
    guarded = piv()
    assert guarded.refuses(bytes((cla,)) + bytes.fromhex(PUT_DATA)[1:]) == "6d00"
    assert guarded.refuses(bytes((cla,)) + bytes.fromhex(GENERATE)[1:]) == "6d00"


@pytest.mark.parametrize("ins", ["C2", "C3"])
@pytest.mark.parametrize("cla", ["00", "10", "80", "A0"])
@pytest.mark.parametrize("name", [PIV, FOREIGN])
def test_an_envelope_with_a_command_in_it_is_refused(name: str, cla: str, ins: str) -> None:
    guarded = Guarded()
    guarded.select(name)
    assert guarded.refuses(f"{cla}{ins}000008{PUT_DATA}") == "6d00"


def test_an_envelope_is_refused_under_full_while_the_pin_is_guarded() -> None:
    assert Guarded(profile="full", reserve=1).refuses("00C200000D0020008008313233343536FFFF") == "6d00"
    assert Guarded(profile="full").passes("00C200000D0020008008313233343536FFFF")


def test_the_readers_own_pin_pad_is_no_way_around_the_guard() -> None:
    assert Guarded(profile="full", reserve=1).refuses("FFC2010605" + "0102030405") == "6e00"
    assert Guarded(profile="full", reserve=1).passes("FFCA000000")


# Chains


def test_every_part_of_a_chain_is_looked_at() -> None:
    guarded = piv()
    assert guarded.passes("1087079A0401020304")
    assert guarded.refuses("1087079B0401020304") == "6982"
    assert guarded.refuses("00DB3FFF0401020304") == "6d00"
    assert guarded.passes("0087079A0401020304")


@pytest.mark.parametrize("command", ["10A4040005A000000308", "1070000001", "10A4000002" + "3F00"])
def test_what_selects_is_not_chained(command: str) -> None:
    assert Guarded().refuses(command) == "6884"


def test_a_name_that_a_careless_card_joins_to_a_chain_is_not_believed() -> None:
    """It might join A0000003 of the chain and the 08 of the SELECT."""
    guarded = Guarded()
    assert guarded.passes("1087000004A0000003")
    assert guarded.passes(f"00A40400{len(FOREIGN) // 2:02X}{FOREIGN}")
    assert guarded.refuses("00B0000000") == "6d00"
    guarded.select(FOREIGN)
    assert guarded.passes("00B0000000")


def test_random_bytes_asked_for_within_a_chain_might_be_something_else() -> None:
    guarded = piv()
    assert guarded.passes("1087009A047C0A8208")
    assert guarded.refuses("0087009B047C028100") == "6884"
    assert guarded.passes("0087009A047C028100")
    assert guarded.passes("0087009B047C028100")


def test_a_chain_that_the_card_refused_is_over() -> None:
    guarded = piv()
    guarded.card.default = answering({"1087": "6A80"})
    assert guarded.passes("1087009A047C0A8208")
    assert guarded.passes("0087009B047C028100")


# Channels


@pytest.mark.parametrize("cla", ["01", "02", "03", "40", "4F", "81"])
def test_a_channel_that_was_not_opened_is_refused(cla: str) -> None:
    """Many cards ignore these bits, and would select on the basic channel."""
    assert Guarded().refuses(f"{cla}A4040005A000000308") == "6881"


def opened(number: int = 1, **options: object) -> Guarded:
    guarded = Guarded(**options)  # type: ignore[arg-type]
    guarded.card.default = answering({"0070000001": f"{number:02X}9000"})
    guarded.send("0070000001")
    return guarded


def test_each_channel_has_its_own_application() -> None:
    guarded = opened()
    guarded.select(FOREIGN)
    assert guarded.passes("01A4040005A000000308")
    assert guarded.passes("00B0000000")
    assert guarded.refuses("01B0000000") == "6d00"
    assert guarded.passes("0187079A0401020304")


@pytest.mark.parametrize(("number", "cla"), [(1, "01"), (3, "03"), (4, "40"), (19, "4F")])
def test_channels_of_both_interindustry_classes_are_known(number: int, cla: str) -> None:
    guarded = opened(number)
    assert guarded.passes(f"{cla}A4040005A000000308")
    assert guarded.refuses(f"{cla}DB3FFF035C017E") == "6d00"


def test_a_channel_by_number_is_open_when_the_card_says_so() -> None:
    guarded = Guarded()
    guarded.card.default = answering({"00700002": "6A81"})
    assert guarded.passes("00700002")
    assert guarded.refuses("02A4040005A000000308") == "6881"
    assert guarded.passes("00700003")
    assert guarded.passes("03A4040005A000000308")


def test_a_new_channel_may_have_anything_selected() -> None:
    guarded = opened()
    assert guarded.refuses("01B0000000") == "6d00"


def test_a_closed_channel_is_closed() -> None:
    guarded = opened()
    assert guarded.passes("00708001")
    assert guarded.refuses("01A4040005A000000308") == "6881"


def test_a_reset_closes_all_channels() -> None:
    guarded = opened()
    guarded.guard.reset()
    assert guarded.refuses("01A4040005A000000308") == "6881"


def test_secure_messaging_on_a_channel_is_still_that_channel() -> None:
    guarded = opened(4)
    assert guarded.passes("40A4040005A000000308")
    assert guarded.refuses("60DB3FFF035C017E") == "6d00"
    assert guarded.refuses("61CB3FFF035C017E") == "6881"


# Names


@pytest.mark.parametrize("name", ["", "A0", "A0000003", "A000000527", "A00000052721", "D2760001"])
def test_a_part_of_a_name_may_select_anything(name: str) -> None:
    guarded = Guarded()
    guarded.select(name)
    for command in ("00B0000000", "0020008008313233343536FFFF", SIGN, "00A20001027100"):
        assert guarded.refuses(command) == "6d00"
    guarded.select(PIV)
    assert guarded.passes(SIGN)


def test_the_next_occurrence_of_a_name_has_the_same_table() -> None:
    guarded = Guarded()
    assert guarded.passes("00A4040205A000000308")
    assert guarded.refuses("00B0000000") == "6d00"


def test_a_name_cut_short_behind_its_prefix_is_known() -> None:
    guarded = Guarded()
    guarded.select("A000000308")
    assert guarded.refuses(PUT_DATA) == "6d00"
    assert guarded.passes(SIGN)


def test_a_select_that_failed_keeps_the_application() -> None:
    guarded = piv()
    guarded.card.default = answering({f"00A40400{len(FOREIGN) // 2:02X}": "6A82"})
    assert guarded.passes(f"00A40400{len(FOREIGN) // 2:02X}{FOREIGN}")
    assert guarded.refuses("00B0000000") == "6d00"
    assert guarded.passes(SIGN)


def test_a_select_that_is_to_be_repeated_with_another_le_may_have_been_done() -> None:
    guarded = piv()
    guarded.card.default = answering({f"00A40400{len(FOREIGN) // 2:02X}": "6C20"})
    assert guarded.passes(f"00A40400{len(FOREIGN) // 2:02X}{FOREIGN}00")
    assert guarded.refuses("00B0000000") == "6d00"
    assert guarded.refuses(SIGN) == "6d00"


@pytest.mark.parametrize("status", ["9000", "6120", "6283", "9F20"])
def test_a_select_that_was_done_with_other_words_was_done(status: str) -> None:
    guarded = Guarded()
    guarded.card.default = answering({"00A4": status})
    guarded.select(PIV)
    assert guarded.refuses("00B0000000") == "6d00"


def test_the_same_select_is_followed_each_time() -> None:
    guarded = Guarded()
    for _ in range(3):
        guarded.select(PIV)
        assert guarded.refuses("00B0000000") == "6d00"
        guarded.select(FOREIGN)
        assert guarded.passes("00B0000000")


def test_a_repeated_select_that_fails_changes_nothing() -> None:
    guarded = Guarded()
    guarded.select(FOREIGN)
    guarded.select(PIV)
    guarded.select(FOREIGN)
    guarded.card.default = answering({"00A40400": "6A82"})
    guarded.select(PIV)
    assert guarded.passes("00B0000000")


def test_a_file_cannot_be_selected_out_of_an_application_without_files() -> None:
    for name in (PIV, OPENPGP, HSMAUTH):
        guarded = Guarded()
        guarded.select(name)
        assert guarded.refuses("00A40000023F00") == "6982"


def test_an_object_of_a_cac_stays_in_the_cac() -> None:
    guarded = Guarded()
    guarded.select(CAC)
    assert guarded.passes("00A40200023000")
    assert guarded.passes("8052000002" + "0102")


def test_calculate_all_is_no_select() -> None:
    guarded = Guarded()
    guarded.select(OATH)
    assert guarded.passes("00A40001027400")
    assert guarded.refuses("00B0000000") == "6d00"
    assert guarded.passes("00A20001027100")


# An admin's tables cannot be got around either


@pytest.mark.parametrize(
    "way",
    [
        [],
        ["00A40400" + "05" + "A000000308"],
        ["00A40400" + "0B" + PIV],
        ["00A40400" + "04" + "A0000003"],
        ["00A40400" + "09" + FOREIGN],
        ["00A40400" + "09" + FOREIGN, "00A4000002" + "5000"],
        ["0CA40400" + "0D" + "97010E8E080102030405060708"],
        ["00A4000002" + "3F00", "0CA40400" + "0D" + "97010E8E080102030405060708"],
        ["80A40400" + "05" + "A000000308"],
    ],
)
@pytest.mark.parametrize("base", ["use", "full"])
def test_a_denied_key_stays_denied_however_its_application_was_selected(base: str, way: list[str]) -> None:
    guarded = Guarded(profile=base, tables=NO_SIGNATURES)
    for command in way:
        guarded.send(command)
    certainly_foreign = len(way) == 1 and FOREIGN in way[0]
    for cla in ("00", "10", "0C", "80"):
        assert guarded.passes(cla + SIGN[2:]) is (certainly_foreign and (base == "full" or cla != "80"))


def test_under_full_a_select_in_a_strange_class_may_select_anything() -> None:
    guarded = Guarded(profile="full", tables=NO_SIGNATURES)
    guarded.select(FOREIGN)
    assert guarded.passes(SIGN)
    assert guarded.passes("B0A4040005A000000308")
    assert guarded.refuses(SIGN) == "6982"


def test_what_an_admin_allows_needs_a_selection_that_is_sure() -> None:
    guarded = Guarded(tables=[Commands("A000000308", allow=("DB",))])
    guarded.select(PIV)
    assert guarded.passes(PUT_DATA)
    guarded.card.default = answering({f"00A40400{len(FOREIGN) // 2:02X}": "6A82"})
    assert guarded.passes(f"00A40400{len(FOREIGN) // 2:02X}{FOREIGN}")
    assert guarded.refuses(PUT_DATA) == "6d00"
    guarded.select(PIV)
    assert guarded.passes(PUT_DATA)


# The card's side


def test_after_a_reset_nothing_is_selected() -> None:
    for again in (Guard.power_on, Guard.reset, Guard.power_off):
        guarded = piv()
        again(guarded.guard)
        assert guarded.passes("00B0000000")


def test_after_a_reset_by_somebody_else_nothing_is_selected() -> None:
    guarded = piv()
    guarded.card.answers[bytes.fromhex(SIGN)] = CardWasReset("Another program reset the card.")
    for _ in range(2):  # the long way and the short way
        guarded.select(PIV)
        with pytest.raises(CardWasReset):
            guarded.send(SIGN)
        assert guarded.passes("00B0000000")


def test_a_select_without_an_answer_may_have_been_done() -> None:
    guarded = piv()
    select = bytes.fromhex(f"00A40400{len(FOREIGN) // 2:02X}{FOREIGN}")
    guarded.card.answers[select] = CardError("The card failed.")
    with pytest.raises(CardError):
        guarded.guard.transmit(select)
    assert guarded.refuses(SIGN) == "6d00"
    assert guarded.refuses("00B0000000") == "6d00"


def test_full_lets_everything_through_as_it_is() -> None:
    guarded = Guarded(profile="full")
    for command in ("00", "20FFFFFF", "0020008004" + "313233343536", "FF8200000131", "01A4040000"):
        assert guarded.passes(command)


def test_who_watches_hears_of_each_refusal_without_its_data() -> None:
    guarded = piv()
    guarded.send(PUT_DATA)
    guarded.send("0087079B0401020304")
    guarded.send("00")
    assert guarded.watcher.reasons == [Reason.INSTRUCTION, Reason.PARAMETERS, Reason.LENGTH]
    assert guarded.watcher.headers == [bytes.fromhex("00DB3FFF"), bytes.fromhex("0087079B"), b"\0"]


def test_a_guest_that_tries_everything_makes_the_guard_remember_no_more() -> None:
    guarded = Guarded()
    for number in range(5000):
        guarded.guard.transmit(bytes.fromhex("00A40400") + b"\x05" + number.to_bytes(5))
        guarded.guard.transmit(b"\0\xb0" + number.to_bytes(2))
    lanes = guarded.guard._lanes.values()
    assert max(len(lane.headers) for lane in lanes) <= 1024
    assert max(len(lane.selects) for lane in lanes) <= 64
    assert len(lanes) < 10


def test_one_profile_serves_many_guards() -> None:
    profile = compile_profile("use")
    one, other = Guarded(profile=profile), Guarded(profile=profile)
    one.select(PIV)
    assert other.passes("00B0000000")
