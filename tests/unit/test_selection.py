"""What a reset by somebody else leaves of a guest's selection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.fake_card import ATR, FakeCard
from virtcard.card.base import CardEvent, Transmission
from virtcard.card.selection import PATH_MAX, Selection
from virtcard.errors import CardAbsent, CardError, CardWasReset, NotSent, ReaderGone

OK = b"\x90\x00"
LOST = b"\x69\x85"
PIV = bytes.fromhex("00a4040009a00000030800001000")
OPENPGP = bytes.fromhex("00a4040006d27600012401")
PIV_NEXT = bytes.fromhex("00a4040209a00000030800001000")
MASTER_FILE = bytes.fromhex("00a40000023f00")
DIRECTORY = bytes.fromhex("00a40000025015")
MASTER_FILE_EXTENDED = bytes.fromhex("00a400000000023f00")
DIRECTORY_EXTENDED = bytes.fromhex("00a400000000025015")
FILE_ONE = bytes.fromhex("00a40200024401")
FILE_TWO = bytes.fromhex("00a40200024402")
FROM_MASTER = bytes.fromhex("00a408000450154401")
SIM_MASTER_FILE = bytes.fromhex("a0a40000023f00")
READ = bytes.fromhex("00b0000010")
GET_DATA = bytes.fromhex("00cb3fff055c035fc102")
VERIFY = bytes.fromhex("0020008008") + b"\x31" * 8
GET_RESPONSE = bytes.fromhex("00c0000000")
SET_ENVIRONMENT = bytes.fromhex("002241b603840101")
SIGN = bytes.fromhex("002a9e9a0400010203")
CHAIN_ONE = bytes.fromhex("1087079a0400010203")
CHAIN_TWO = bytes.fromhex("1087079a0404050607")
CHAIN_LAST = bytes.fromhex("0087079a0408090a0b")


class ResettableCard(FakeCard):
    """Somebody else resets it now and then: the next command is not sent."""

    def __init__(self) -> None:
        super().__init__()
        self.was_reset = 0

    def transmit(self, command: bytes) -> bytes:
        if self.was_reset:
            self.was_reset -= 1
            raise CardWasReset("Somebody reset the card.")
        return super().transmit(command)


@pytest.fixture
def card() -> ResettableCard:
    return ResettableCard()


def after(card: ResettableCard, *commands: bytes) -> Selection:
    """A guest that has sent these commands, and then somebody else reset the card."""
    selection = Selection(card)
    selection.power_on()
    for command in commands:
        selection.transmit(command)
    card.commands.clear()
    card.was_reset = 1
    return selection


def test_application_is_selected_again_before_the_pending_command(card: ResettableCard) -> None:
    assert after(card, PIV).transmit(GET_DATA) == OK
    assert card.commands == [PIV, GET_DATA]


def test_guest_hears_that_the_login_is_gone_from_the_card_itself(card: ResettableCard) -> None:
    selection = after(card, PIV, VERIFY)
    card.answers[SIGN] = b"\x69\x82"
    assert selection.transmit(SIGN) == b"\x69\x82"
    assert VERIFY not in card.commands


def test_nothing_is_replayed_when_nothing_was_selected(card: ResettableCard) -> None:
    assert after(card).transmit(GET_DATA) == OK
    assert card.commands == [GET_DATA]


def test_only_the_last_application_is_selected_again(card: ResettableCard) -> None:
    after(card, PIV, OPENPGP).transmit(GET_DATA)
    assert card.commands == [OPENPGP, GET_DATA]


def test_failed_select_changes_nothing(card: ResettableCard) -> None:
    card.answers[OPENPGP] = b"\x6a\x82"
    after(card, PIV, OPENPGP).transmit(GET_DATA)
    assert card.commands == [PIV, GET_DATA]


@pytest.mark.parametrize("status", ["9000", "6112", "6283", "6310"])
def test_success_and_warnings_select(card: ResettableCard, status: str) -> None:
    card.answers[PIV] = bytes.fromhex(status)
    after(card, PIV).transmit(GET_DATA)
    assert card.commands == [PIV, GET_DATA]


def test_files_under_an_application_are_one_path(card: ResettableCard) -> None:
    after(card, PIV, DIRECTORY, FILE_ONE).transmit(READ)
    assert card.commands == [PIV, DIRECTORY, FILE_ONE, READ]


def test_extended_length_does_not_hide_which_file_is_selected(card: ResettableCard) -> None:
    after(card, PIV, DIRECTORY_EXTENDED).transmit(READ)
    assert card.commands == [PIV, DIRECTORY_EXTENDED, READ]


def test_another_file_of_the_same_directory_takes_the_place_of_the_first(card: ResettableCard) -> None:
    after(card, PIV, FILE_ONE, FILE_TWO).transmit(READ)
    assert card.commands == [PIV, FILE_TWO, READ]


@pytest.mark.parametrize("beginning", [MASTER_FILE, MASTER_FILE_EXTENDED, FROM_MASTER, PIV])
def test_absolute_select_begins_a_new_path(card: ResettableCard, beginning: bytes) -> None:
    after(card, OPENPGP, FILE_ONE, beginning).transmit(READ)
    assert card.commands == [beginning, READ]


def test_next_occurrence_is_selected_by_way_of_the_first(card: ResettableCard) -> None:
    after(card, PIV, PIV_NEXT).transmit(READ)
    assert card.commands == [PIV, PIV_NEXT, READ]


def test_absolute_select_needs_no_replay(card: ResettableCard) -> None:
    assert after(card, PIV).transmit(OPENPGP) == OK
    assert card.commands == [OPENPGP]


def test_absolute_select_that_fails_leaves_selected_what_was(card: ResettableCard) -> None:
    """ISO 7816-4, 11.2.2. Without the reset in between the card would have it still."""
    card.answers[OPENPGP] = b"\x6a\x82"
    selection = after(card, PIV, FILE_ONE)
    assert selection.transmit(OPENPGP) == b"\x6a\x82"
    assert selection.transmit(READ) == OK
    assert card.commands == [OPENPGP, PIV, FILE_ONE, READ]


def test_absolute_select_that_fails_where_nothing_was_selected_is_all_that_is_sent(card: ResettableCard) -> None:
    card.answers[OPENPGP] = b"\x6a\x82"
    assert after(card).transmit(OPENPGP) == b"\x6a\x82"
    assert card.commands == [OPENPGP]


def test_select_that_fails_and_what_was_selected_cannot_be_brought_back_is_reported(card: ResettableCard) -> None:
    selection = after(card, PIV)
    card.answers = {OPENPGP: b"\x6a\x82", PIV: b"\x6f\x00"}
    with pytest.raises(CardWasReset):
        selection.transmit(OPENPGP)


def test_select_under_secure_messaging_is_refused_and_what_was_selected_is_there(card: ResettableCard) -> None:
    selection = after(card, PIV)
    assert selection.transmit(b"\x0c" + OPENPGP[1:]) == LOST
    assert selection.transmit(READ) == OK
    assert card.commands == [PIV, READ]


def test_path_that_is_too_deep_is_not_replayed(card: ResettableCard) -> None:
    selection = after(card, PIV, *[DIRECTORY] * PATH_MAX)
    with pytest.raises(CardWasReset):
        selection.transmit(READ)
    assert card.commands == []


def test_selection_of_a_sim_is_not_replayed(card: ResettableCard) -> None:
    card.answers[SIM_MASTER_FILE] = b"\x9f\x17"
    with pytest.raises(CardWasReset):
        after(card, SIM_MASTER_FILE).transmit(bytes.fromhex("a0b0000010"))


def test_failed_replay_is_a_card_error_and_the_command_is_not_sent(card: ResettableCard) -> None:
    selection = after(card, PIV)
    card.answers[PIV] = b"\x6a\x82"
    with pytest.raises(CardError):
        selection.transmit(GET_DATA)
    assert card.commands == [PIV]


def test_failed_replay_fails_until_the_guest_selects_anew(card: ResettableCard) -> None:
    selection = after(card, PIV)
    card.answers[PIV] = b"\x6a\x82"
    with pytest.raises(CardWasReset):
        selection.transmit(GET_DATA)
    card.was_reset = 1
    with pytest.raises(CardWasReset):
        selection.transmit(GET_DATA)
    selection.transmit(OPENPGP)
    card.was_reset = 1
    assert selection.transmit(GET_DATA) == OK


def test_replay_without_an_answer_is_a_lost_selection_too(card: ResettableCard) -> None:
    """The guest's next command, a PIN perhaps, would meet another application than the guest knows."""
    selection = after(card, PIV)
    card.answers[PIV] = CardError("No answer came.")
    with pytest.raises(CardWasReset):
        selection.transmit(GET_DATA)
    assert GET_DATA not in card.commands


@pytest.mark.parametrize("error", [CardAbsent("No card."), ReaderGone("No reader.")])
def test_card_that_goes_within_the_replay_is_gone(card: ResettableCard, error: CardError) -> None:
    selection = after(card, PIV)
    card.answers[PIV] = error
    with pytest.raises(type(error)):
        selection.transmit(GET_DATA)


def test_replay_that_is_not_to_be_finished_is_begun_anew_after_the_next_reset(card: ResettableCard) -> None:
    selection = after(card, PIV)
    card.answers[PIV] = NotSent("The login was ended meanwhile.")
    with pytest.raises(NotSent):
        selection.transmit(GET_DATA)
    card.answers.clear()
    card.was_reset = 1
    card.commands.clear()
    assert selection.transmit(GET_DATA) == OK
    assert card.commands == [PIV, GET_DATA]


def test_reset_during_the_replay_is_reported(card: ResettableCard) -> None:
    selection = after(card, PIV)
    card.was_reset = 2
    with pytest.raises(CardWasReset):
        selection.transmit(GET_DATA)


def test_get_response_of_a_lost_answer_is_refused(card: ResettableCard) -> None:
    assert after(card, PIV, GET_DATA).transmit(GET_RESPONSE) == LOST
    assert card.commands == [PIV]


def test_middle_of_a_chain_is_refused(card: ResettableCard) -> None:
    assert after(card, PIV, CHAIN_ONE).transmit(CHAIN_TWO) == LOST
    assert card.commands == [PIV]


def test_last_command_of_a_chain_is_refused(card: ResettableCard) -> None:
    assert after(card, PIV, CHAIN_ONE, CHAIN_TWO).transmit(CHAIN_LAST) == LOST


def test_chain_can_begin_again_after_it_was_refused(card: ResettableCard) -> None:
    selection = after(card, PIV, CHAIN_ONE)
    assert selection.transmit(CHAIN_TWO) == LOST
    assert [selection.transmit(command) for command in (CHAIN_ONE, CHAIN_TWO, CHAIN_LAST)] == [OK] * 3


def test_first_command_of_a_chain_is_sent_again(card: ResettableCard) -> None:
    assert after(card, PIV).transmit(CHAIN_ONE) == OK
    assert card.commands == [PIV, CHAIN_ONE]


def test_signature_without_its_security_environment_is_refused(card: ResettableCard) -> None:
    selection = after(card, PIV, SET_ENVIRONMENT)
    assert selection.transmit(SIGN) == LOST
    assert selection.transmit(SET_ENVIRONMENT) == OK
    assert selection.transmit(SIGN) == OK


def test_secure_messaging_and_other_channels_are_refused(card: ResettableCard) -> None:
    for cla in (0x0C, 0x01):
        selection = after(card, PIV)
        assert selection.transmit(bytes([cla]) + READ[1:]) == LOST


def test_power_on_and_reset_begin_with_nothing_selected(card: ResettableCard) -> None:
    selection = after(card, PIV)
    assert selection.power_on() == ATR
    selection.transmit(GET_DATA)
    assert card.commands == [GET_DATA]
    selection.transmit(PIV)
    assert selection.reset() == ATR
    card.commands.clear()
    card.was_reset = 1
    selection.transmit(GET_DATA)
    assert card.commands == [GET_DATA]


def test_other_errors_and_everything_else_pass_through(card: ResettableCard) -> None:
    selection = Selection(card)
    card.answers[READ] = CardAbsent("No card.")
    with pytest.raises(CardAbsent):
        selection.transmit(READ)
    heard: list[CardEvent] = []
    selection.listen(heard.append)
    card.report(CardEvent.REMOVED)
    assert heard == [CardEvent.REMOVED]
    assert selection.transmission is Transmission.T0
    selection.power_off()
    assert card.calls[-1] == "power_off"


@given(st.lists(st.binary(min_size=4, max_size=12), max_size=20), st.binary(min_size=4, max_size=12))
def test_any_command_is_sent_once_or_refused(before: list[bytes], command: bytes) -> None:
    card = ResettableCard()
    try:
        response = after(card, *before).transmit(command)
    except CardWasReset:
        assert command not in card.commands or command[1] == 0xA4
    else:
        assert (response == LOST) or card.commands[-1] == command
        assert len(card.commands) <= PATH_MAX + 1
