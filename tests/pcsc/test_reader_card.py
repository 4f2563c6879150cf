"""The card in a host reader, against a real pcscd."""

from __future__ import annotations

import subprocess
import threading
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.pcsc_lab import Lab, exclusive_holder
from helpers.pcscd import READERS
from helpers.scripted_card import (
    AID,
    ATR_T0,
    ATR_T1,
    FCI,
    OK,
    PROTECTED,
    SELECT,
    VERIFIED,
    VERIFY,
    WAIT,
    ScriptedCard,
    echo,
    give,
    pattern,
)
from helpers.waiting import wait_until
from virtcard.card.base import Card, CardEvent, Transmission
from virtcard.card.reader import Context, Disposition
from virtcard.errors import CardAbsent, CardError, CardWasReset, ReaderGone

NOT_VERIFIED = b"\x63\xc3"
DENIED = b"\x69\x82"


def opensc(lab: Lab, *arguments: str) -> str:
    """What opensc-tool says: another program, and a judge of its own."""
    command = ["opensc-tool", "--reader", "0", *arguments]
    done = subprocess.run(command, env=lab.pcscd.environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reader_card_is_a_card(lab: Lab) -> None:
    card: Card = lab.card()
    assert card.transmission is Transmission.T0


def test_power_on_resets_the_card_and_returns_its_atr(lab: Lab) -> None:
    inside = ScriptedCard()
    lab.plug(inside)
    before = inside.resets
    card = lab.card()
    assert card.power_on() == ATR_T0
    assert inside.resets == before + 1


@pytest.mark.parametrize(("atr", "transmission"), [(ATR_T0, Transmission.T0), (ATR_T1, Transmission.T1)])
def test_transmission_is_the_one_of_the_card(lab: Lab, atr: bytes, transmission: Transmission) -> None:
    lab.plug(ScriptedCard(atr))
    card = lab.card()
    assert card.power_on() == atr
    assert card.transmission is transmission


def test_select_on_t0_announces_its_answer(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    assert card.transmit(SELECT) == bytes([0x61, len(FCI)])
    assert card.transmit(bytes([0, 0xC0, 0, 0, len(FCI)])) == FCI + OK


def test_select_on_t1_answers_at_once(lab: Lab) -> None:
    lab.plug(ScriptedCard(ATR_T1))
    card = lab.card()
    card.power_on()
    assert card.transmit(SELECT) == FCI + OK


def test_answers_of_all_lengths_arrive_whole(lab: Lab) -> None:
    lab.plug(ScriptedCard(ATR_T1))
    card = lab.card()
    card.power_on()
    for size in (0, 1, 54, 118, 255, 256, 257, 1_000, 32_767, 65_000):
        assert card.transmit(give(size)) == pattern(size) + OK


@pytest.mark.parametrize("size", [1, 255, 256, 4_096, 65_000])
def test_commands_with_extended_length_arrive_whole(lab: Lab, size: int) -> None:
    lab.plug(ScriptedCard(ATR_T1))
    card = lab.card()
    card.power_on()
    assert card.transmit(echo(pattern(size))) == pattern(size) + OK


def test_a_command_chain_arrives_whole(lab: Lab) -> None:
    lab.plug(ScriptedCard(ATR_T1))
    card = lab.card()
    card.power_on()
    assert card.transmit(echo(b"first ", more=True)) == OK
    assert card.transmit(echo(b"second")) == b"first second" + OK


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=2_000))
def test_whatever_goes_in_comes_back(lab: Lab, data: bytes) -> None:
    if lab.atr(0) != ATR_T1:
        lab.plug(ScriptedCard(ATR_T1))
    card = lab.card()
    card.power_on()
    assert card.transmit(echo(data)) == data + OK
    card.power_off()


def test_power_on_without_a_card_is_card_absent(lab: Lab) -> None:
    with pytest.raises(CardAbsent, match="no card"):
        lab.card().power_on()


def test_transmit_before_power_on_is_card_absent(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    with pytest.raises(CardAbsent):
        lab.card().transmit(SELECT)


def test_an_unknown_reader_is_gone(lab: Lab) -> None:
    card = lab.card()
    card.reader = "Nobody 00 00"
    with pytest.raises(ReaderGone, match="Nobody 00 00"):
        card.power_on()


def test_a_card_with_a_broken_atr_speaks_no_protocol(lab: Lab) -> None:
    lab.slots[0].plug(ScriptedCard(b"\x00\x00\x00"))
    wait_until(lambda: any(reader.present for reader in lab.watcher.readers), 10, "the mute card is seen")
    with pytest.raises(CardError, match="neither T=0 nor T=1"):
        lab.card().power_on()


def test_pin_is_gone_after_power_off(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    assert card.transmit(VERIFY) == OK
    card.power_off()
    assert "SW1=0x69, SW2=0x82" in opensc(lab, "--send-apdu", PROTECTED.hex())


def test_pin_is_gone_after_reset(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    card.transmit(VERIFY)
    assert card.transmit(PROTECTED) == OK
    assert card.reset() == ATR_T0
    assert card.transmit(PROTECTED) == DENIED


def test_pin_that_a_host_program_verified_is_gone_after_power_on(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    host = Context()
    handle = host.connect(READERS[0])
    assert handle.transmit(VERIFY) == OK
    card = lab.card()
    card.power_on()
    assert card.transmit(VERIFIED) == NOT_VERIFIED
    handle.disconnect(Disposition.LEAVE)
    host.release()


def test_power_off_waits_for_a_host_transaction_and_then_resets(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    card.transmit(VERIFY)
    host = Context()
    handle = host.connect(READERS[0])
    handle.begin()
    thread = threading.Thread(target=card.power_off)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    handle.end(Disposition.LEAVE)
    thread.join(5)
    assert not thread.is_alive()
    handle.reconnect(Disposition.LEAVE)
    assert handle.transmit(VERIFIED) == NOT_VERIFIED
    host.release()


def test_power_off_twice_is_harmless(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    card.power_off()
    card.power_off()
    assert card.power_on() == ATR_T0


def test_opensc_reads_the_atr_while_we_share_the_card(lab: Lab) -> None:
    inside = ScriptedCard(ATR_T1)
    lab.plug(inside)
    card = lab.card()
    card.power_on()
    card.transmit(VERIFY)
    assert opensc(lab, "--atr").strip() == ATR_T1.hex(":")
    assert card.transmit(VERIFIED) == OK


def test_reset_by_another_program_is_reported_once_and_the_card_stays_ours(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    card.transmit(VERIFY)
    opensc(lab, "--reset")
    with pytest.raises(CardWasReset) as caught:
        card.transmit(PROTECTED)
    assert READERS[0] in caught.value.message
    assert card.transmit(PROTECTED) == DENIED


def test_power_taken_by_another_program_is_reported_as_a_reset(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    host = Context()
    host.connect(READERS[0]).disconnect(Disposition.UNPOWER)
    with pytest.raises(CardWasReset):
        card.transmit(VERIFIED)
    assert card.transmit(VERIFIED) == NOT_VERIFIED
    host.release()


def test_card_taken_out_while_idle_is_card_absent(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    lab.unplug()
    with pytest.raises(CardAbsent):
        card.transmit(VERIFIED)


def test_card_taken_out_in_the_middle_of_a_command_fails_it(lab: Lab) -> None:
    inside = ScriptedCard()
    lab.plug(inside)
    card = lab.card()
    card.power_on()
    inside.gate.clear()
    failures: list[CardError] = []

    def command() -> None:
        with pytest.raises(CardError) as caught:
            card.transmit(WAIT)
        failures.append(caught.value)

    thread = threading.Thread(target=command)
    thread.start()
    assert inside.waiting.wait(5)
    lab.slots[0].hang_up()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(failures[0], CardError)
    inside.gate.set()
    lab.unplug()
    with pytest.raises(CardAbsent):
        card.transmit(VERIFIED)


def test_the_next_card_is_taken_by_power_on(lab: Lab) -> None:
    lab.plug(ScriptedCard(ATR_T0))
    card = lab.card()
    card.power_on()
    lab.plug(ScriptedCard(ATR_T1))
    with pytest.raises(CardAbsent):
        card.transmit(VERIFIED)
    assert card.power_on() == ATR_T1
    assert card.transmission is Transmission.T1


def test_restart_of_pcscd_while_holding_a_card_is_reader_gone(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    lab.pcscd.restart()
    with pytest.raises(ReaderGone, match="pcscd"):
        card.transmit(VERIFIED)
    lab.seen(ATR_T0)
    assert card.power_on() == ATR_T0
    assert card.transmit(VERIFIED) == NOT_VERIFIED


def test_restart_of_pcscd_that_nobody_noticed_costs_power_on_nothing(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    lab.events.clear()
    lab.pcscd.restart()
    wait_until(lambda: len(lab.events) > 3, 10, "pcscd went")
    lab.seen(ATR_T0)
    assert card.power_on() == ATR_T0


def test_power_on_without_pcscd_is_reader_gone(lab: Lab) -> None:
    lab.pcscd.stop()
    with pytest.raises(ReaderGone, match="pcscd") as caught:
        lab.card().power_on()
    assert "systemctl" in caught.value.hint


def test_a_slow_card_does_not_hold_up_the_other_reader(lab: Lab) -> None:
    slow, quick = ScriptedCard(), ScriptedCard(ATR_T1)
    lab.plug(slow)
    lab.plug(quick, 1)
    first, second = lab.card(0), lab.card(1)
    first.power_on()
    second.power_on()
    slow.gate.clear()
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(first.transmit(WAIT)))
    thread.start()
    assert slow.waiting.wait(5)
    for size in range(100):
        assert second.transmit(give(size)) == pattern(size) + OK
    assert not answers
    slow.gate.set()
    thread.join(5)
    assert answers == [OK]


def test_cards_of_one_reader_share_one_context(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    cards = [lab.card() for _ in range(150)]
    for card in cards:
        card.power_on()
    assert len(lab.contexts) == 1
    for card in cards:
        card.power_off()
    assert len(lab.contexts) == 0


def test_a_card_that_cannot_be_had_holds_no_context(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card, other = lab.card(), lab.card()
    with exclusive_holder(READERS[0]):
        for _ in range(5):
            with pytest.raises(CardError, match="for itself"):
                card.power_on()
        assert len(lab.contexts) == 0
    assert card.power_on() == other.power_on() == ATR_T0
    assert len(lab.contexts) == 1
    card.power_off()
    other.power_off()
    assert len(lab.contexts) == 0


def test_a_context_that_died_is_not_given_to_the_next(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    first, second = lab.card(), lab.card()
    first.power_on()
    second.power_on()
    lab.pcscd.restart()
    with pytest.raises(ReaderGone):
        first.transmit(VERIFIED)
    lab.seen(ATR_T0)
    first.power_on()
    assert len(lab.contexts) == 2
    with pytest.raises(ReaderGone):
        second.transmit(VERIFIED)
    assert len(lab.contexts) == 1
    assert first.transmit(VERIFIED) == NOT_VERIFIED


def test_a_transaction_keeps_host_programs_waiting(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    card.begin()
    began = threading.Event()

    def host() -> None:
        context = Context()
        handle = context.connect(READERS[0])
        handle.begin()
        began.set()
        handle.end(Disposition.LEAVE)
        context.release()

    thread = threading.Thread(target=host)
    thread.start()
    assert not began.wait(0.3)
    card.transmit(VERIFY)
    card.end(reset=True)
    assert began.wait(5)
    thread.join(5)
    with pytest.raises(CardAbsent):
        lab.card().begin()


def test_a_transaction_that_ends_with_a_reset_forgets_the_pin(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    card.begin()
    card.transmit(VERIFY)
    card.end(reset=True)
    assert card.transmit(VERIFIED) == NOT_VERIFIED


def test_card_reports_insertion_and_removal(lab: Lab) -> None:
    card = lab.card()
    told: list[CardEvent] = []
    card.listen(told.append)
    lab.plug(ScriptedCard())
    wait_until(lambda: told == [CardEvent.INSERTED], 10, "told of the insertion")
    lab.unplug()
    wait_until(lambda: told == [CardEvent.INSERTED, CardEvent.REMOVED], 10, "told of the removal")


def test_card_of_another_reader_is_not_reported(lab: Lab) -> None:
    card = lab.card(0)
    told: list[CardEvent] = []
    card.listen(told.append)
    lab.plug(ScriptedCard(), 1)
    lab.unplug(1)
    assert told == []


def test_nobody_is_told_after_listen_none(lab: Lab) -> None:
    card = lab.card()
    told: list[CardEvent] = []
    card.listen(told.append)
    card.listen(None)
    lab.plug(ScriptedCard())
    assert told == []


def test_failures_tell_nothing_of_the_command(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    lab.unplug()
    with pytest.raises(CardError) as caught:
        card.transmit(VERIFY)
    text = "".join(traceback.format_exception(caught.value)) + repr(card)
    for secret in ("123456", "31, 32, 33", "49, 50, 51", VERIFY.hex(), AID.hex()):
        assert secret not in text


def test_a_host_program_that_holds_the_card_for_itself_is_named_as_the_cause(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    with exclusive_holder(READERS[0]), pytest.raises(CardError, match="for itself") as caught:
        lab.card().power_on()
    assert caught.value.hint == "End that program."
    assert lab.card().power_on() == ATR_T0


def test_commands_wait_for_the_transaction_of_a_host_program(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    card = lab.card()
    card.power_on()
    host = Context()
    handle = host.connect(READERS[0])
    handle.begin()
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(card.transmit(VERIFIED)))
    thread.start()
    thread.join(0.3)
    assert not answers
    handle.end(Disposition.LEAVE)
    thread.join(5)
    assert answers == [NOT_VERIFIED]
    host.release()


def test_a_card_that_waits_for_its_turn_does_not_hold_up_another_of_its_reader(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    first, second = lab.card(), lab.card()
    first.power_on()
    second.power_on()
    with pytest.raises(CardWasReset):
        first.transmit(VERIFIED)
    first.begin()
    thread = threading.Thread(target=second.begin)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert first.transmit(VERIFIED) == NOT_VERIFIED
    first.end(reset=False)
    thread.join(5)
    assert not thread.is_alive()
