"""A machine's lease on a shared card: when it begins, when it ends, and what is left of a login then."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from helpers.errands import Sent
from helpers.fake_card import ATR, OK
from helpers.shared_card import PROTECTED, QUICK, READ, VERIFY, SharedLab, send
from helpers.waiting import wait_until
from virtcard.card.base import CardEvent, Transmission
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.rules import LeaseRules
from virtcard.card.selection import Selection
from virtcard.errors import Busy, CardAbsent, CardChanged, CardError, CardWasReset, NotSent, ReaderGone

SELECT = bytes.fromhex("00a4040009a00000030800001000")
CHAIN = bytes.fromhex("102a9e9a0400010203")
CHAIN_END = bytes.fromhex("002a9e9a0404050607")
MORE = bytes.fromhex("00cb3fff055c035fc102")
WRITE = bytes.fromhex("00db3fff0400010203")


@pytest.fixture
def lab() -> SharedLab:
    return SharedLab()


def until(lab: SharedLab, who: str, deed: str) -> float:
    """Wait for a deed, and say when it was."""
    wait_until(lambda: (who, deed) in lab.physical.deeds, 5, f"{who}: {deed}", 0.002)
    return lab.physical.when((who, deed))


def test_power_on_takes_no_lease(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    assert card.reader == "Reader"
    assert card.transmission is Transmission.T0
    assert lab.physical.did("vm") == ["power_on"]


def test_first_command_takes_the_lease_and_resets_the_card(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    assert card.transmit(READ) == OK
    assert card.transmit(READ) == OK
    assert lab.physical.did("vm") == ["power_on", "begin", "reset", READ.hex(), READ.hex()]


def test_idle_lease_is_given_up_without_a_reset_when_nobody_logged_in(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.transmit(READ)
    ended = until(lab, "vm", "end")
    assert QUICK.idle <= ended - lab.physical.when(("vm", READ.hex())) < QUICK.idle_logged_in


def test_idle_lease_with_a_login_lasts_longer_and_ends_with_a_reset(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    send(card, VERIFY)
    ended = until(lab, "vm", "end with reset")
    assert QUICK.idle_logged_in <= ended - lab.physical.when(("vm", VERIFY.hex())) < QUICK.last_call


def test_wrong_pin_is_no_login(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    handle.answers[VERIFY] = bytes.fromhex("63c2")
    send(card, VERIFY)
    until(lab, "vm", "end")


@pytest.mark.parametrize("error", [CardError("No answer came."), ValueError("a bug in a driver")])
def test_pin_whose_answer_was_lost_may_be_verified_and_the_lease_ends_with_a_reset(
    lab: SharedLab, error: Exception
) -> None:
    card, handle = lab.machine("vm")
    handle.answers[VERIFY] = error
    with pytest.raises(type(error)):
        send(card, VERIFY)
    ended = until(lab, "vm", "end with reset")
    assert ended - lab.physical.when(("vm", VERIFY.hex())) >= QUICK.idle_logged_in


def test_harmless_command_whose_answer_was_lost_logs_nobody_in(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    handle.answers[READ] = CardError("No answer came.")
    with pytest.raises(CardError):
        send(card, READ)
    until(lab, "vm", "end")


@pytest.mark.parametrize("error", [CardError("No answer came."), CardAbsent("There is no card.")])
def test_write_whose_answer_was_lost_may_have_changed_the_card_for_others(lab: SharedLab, error: CardError) -> None:
    reader, _ = lab.machine("reader")
    writer, handle = lab.machine("writer")
    send(reader, READ)
    handle.answers[WRITE] = error
    with pytest.raises(type(error)):
        send(writer, WRITE)
    if isinstance(error, CardAbsent):
        handle._let_go()
    with pytest.raises(CardChanged):
        reader.transmit(READ)


@pytest.mark.parametrize(("command", "answer"), [(CHAIN, "9000"), (MORE, "6110")])
def test_unfinished_exchange_keeps_the_lease(lab: SharedLab, command: bytes, answer: str) -> None:
    card, handle = lab.machine("vm")
    handle.answers[command] = bytes.fromhex(answer)
    send(card, command)
    ended = until(lab, "vm", "end")
    assert QUICK.idle_logged_in <= ended - lab.physical.when(("vm", command.hex())) < QUICK.last_call


def busy(card: Leased, seconds: float, *commands: bytes) -> None:
    """A guest that never pauses."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        send(card, *commands)


def test_busy_lease_ends_after_the_last_call(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    busy(card, QUICK.last_call + 0.2, VERIFY, READ)
    ended = until(lab, "vm", "end with reset")
    assert QUICK.last_call <= ended - lab.physical.when(("vm", "begin")) <= QUICK.longest
    assert lab.physical.did("vm").count("begin") == 2


def test_chain_without_an_end_is_cut_at_the_longest_lease(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    busy(card, QUICK.longest + 0.2, CHAIN)
    ended = until(lab, "vm", "end")
    assert QUICK.longest <= ended - lab.physical.when(("vm", "begin")) <= QUICK.longest + 0.5


def test_pause_after_each_lease(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    busy(card, QUICK.last_call + 0.2, VERIFY)
    ended = until(lab, "vm", "end with reset")
    begins = [at for at, deed in zip(lab.physical.times, lab.physical.deeds, strict=True) if deed == ("vm", "begin")]
    assert begins[1] - ended >= QUICK.pause


def test_command_after_a_lost_lease_is_not_sent_but_reported(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    card.transmit(READ)
    until(lab, "vm", "end")
    handle.commands.clear()
    with pytest.raises(CardWasReset):
        card.transmit(PROTECTED)
    assert handle.commands == []
    assert card.transmit(PROTECTED) == OK


def test_selection_is_replayed_on_regain_and_the_login_is_gone(lab: SharedLab) -> None:
    leased, handle = lab.machine("vm")
    card = Selection(leased)
    card.transmit(SELECT)
    card.transmit(VERIFY)
    until(lab, "vm", "end with reset")
    handle.commands.clear()
    handle.answers[PROTECTED] = bytes.fromhex("6982")
    assert card.transmit(PROTECTED) == bytes.fromhex("6982")
    assert handle.commands == [SELECT, PROTECTED]


def test_chain_that_lost_its_lease_is_refused(lab: SharedLab) -> None:
    leased, handle = lab.machine("vm")
    card = Selection(leased)
    card.transmit(CHAIN)
    until(lab, "vm", "end")
    assert card.transmit(CHAIN_END) == bytes.fromhex("6985")
    assert CHAIN_END not in handle.commands


def test_second_machine_waits_for_the_first_ones_lease(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, _ = lab.machine("other")
    send(one, VERIFY)
    send(other, READ)
    deeds = lab.physical.deeds
    assert deeds.index(("one", "end with reset")) < deeds.index(("other", "begin")) < deeds.index(("other", "reset"))


def test_busy_machine_without_a_login_makes_room_for_one_that_waits(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, _ = lab.machine("other")
    one.transmit(READ)
    thread = threading.Thread(target=send, args=(other, READ))
    thread.start()
    busy(one, 2 * QUICK.idle, READ)
    thread.join()
    held = until(lab, "one", "end") - lab.physical.when(("one", "begin"))
    assert QUICK.idle <= held < QUICK.last_call


def test_busy_machine_with_a_login_keeps_it_however_many_wait(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, _ = lab.machine("other")
    send(one, VERIFY)
    thread = threading.Thread(target=busy, args=(one, QUICK.patience, READ))
    thread.start()
    with pytest.raises(CardError, match="in use elsewhere"):
        other.transmit(READ)
    thread.join()
    assert "end with reset" not in lab.physical.did("one")


def test_who_waits_too_long_gets_an_error_and_may_try_again(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, handle = lab.machine("other")
    one.transmit(READ)
    handle.physical.owner.gate.clear()  # type: ignore[union-attr]
    thread = threading.Thread(target=one.transmit, args=(READ,))
    thread.start()
    with pytest.raises(CardError, match="in use elsewhere"):
        other.transmit(READ)
    lab.physical.owner.gate.set()  # type: ignore[union-attr]
    thread.join()
    send(other, READ)


def test_host_program_that_holds_the_card_is_waited_for_in_vain_and_then_again(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    lab.physical.turn.acquire()
    for _ in range(2):
        with pytest.raises(CardError, match="in use elsewhere"):
            card.transmit(READ)
    lab.physical.turn.release()
    send(card, READ)
    until(lab, "vm", READ.hex())


def test_begin_that_came_too_late_is_ended_at_once(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    lab.physical.turn.acquire()
    with pytest.raises(CardError):
        card.transmit(READ)
    lab.physical.turn.release()
    until(lab, "vm", "end")
    assert READ.hex() not in lab.physical.did("vm")


def test_resets_of_other_programs_do_not_keep_us_from_the_lease(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    handle.resets_before_begin = 3
    assert card.transmit(READ) == OK


def test_program_that_resets_for_ever_is_an_error(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    handle.resets_before_begin = 100
    with pytest.raises(CardError):
        card.transmit(READ)
    assert READ.hex() not in lab.physical.did("vm")


# Threads that are given up.


def until_it_waits(lab: SharedLab) -> None:
    wait_until(lambda: lab.office.waiting, 5, "it waits for the lease", 0.002)


def test_command_that_is_given_up_while_it_waits_for_the_lease_is_not_sent(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, handle = lab.machine("other")
    send(one, VERIFY)
    sent = Sent(lambda: other.transmit(VERIFY))
    until_it_waits(lab)
    began = time.monotonic()
    sent.give_up()
    assert isinstance(sent.ended().error, NotSent)
    assert time.monotonic() - began < QUICK.patience, "it is woken"
    assert not lab.office.waiting
    until(lab, "one", "end with reset")
    assert handle.commands == []
    send(other, VERIFY)


def test_command_that_is_given_up_while_a_host_program_has_the_card_is_not_sent(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    with lab.physical.turn:
        sent = Sent(lambda: card.transmit(VERIFY))
        wait_until(lambda: not lab.office.waiting, 5, "the clerk waits in pcscd", 0.002)
        sent.give_up()
        assert isinstance(sent.ended().error, NotSent)
    until(lab, "vm", "end")
    assert handle.commands == []


def test_command_that_is_given_up_within_the_replay_of_a_selection_is_not_sent(lab: SharedLab) -> None:
    leased, handle = lab.machine("vm")
    card = Selection(leased)
    card.transmit(SELECT)
    until(lab, "vm", "end")
    handle.commands.clear()
    handle.gate.clear()
    sent = Sent(lambda: card.transmit(VERIFY))
    assert handle.waiting.wait(5)
    sent.give_up()
    handle.gate.set()
    assert isinstance(sent.ended().error, NotSent)
    assert handle.commands == [SELECT]


def test_command_that_is_given_up_while_its_lease_is_kept_is_not_sent(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    asked, answered = threading.Event(), threading.Event()

    def ask_and_send() -> bytes:
        with card.kept():
            asked.set()
            assert answered.wait(5)
            return card.transmit(VERIFY)

    sent = Sent(ask_and_send)
    assert asked.wait(5)
    sent.give_up()
    answered.set()
    assert isinstance(sent.ended().error, NotSent)
    assert handle.commands == []


def test_thread_that_is_given_up_does_not_power_the_card_on(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, handle = lab.newcomer("other")
    send(one, VERIFY)
    sent = Sent(other.power_on)
    until_it_waits(lab)
    sent.give_up()
    assert isinstance(sent.ended().error, NotSent)
    assert handle.calls == []
    assert other.power_on() == ATR


def test_time_that_a_command_spent_before_counts_for_the_lease(lab: SharedLab) -> None:
    """As the time that a person took to answer."""
    one, handle = lab.machine("one")
    other, _ = lab.machine("other")
    handle.gate.clear()
    holder = Sent(lambda: one.transmit(READ))
    assert handle.waiting.wait(5)
    began = time.monotonic()

    def ask_and_send() -> bytes:
        threading.Event().wait(QUICK.patience / 2)
        return other.transmit(VERIFY)

    assert "in use elsewhere" in str(Sent(ask_and_send).ended().error)
    assert time.monotonic() - began < 1.5 * QUICK.patience
    handle.gate.set()
    holder.ended()


# Logging out.


def test_command_that_waits_for_the_lease_across_a_logout_is_not_sent(lab: SharedLab) -> None:
    """A PIN of before would log in a machine that was reset since."""
    one, _ = lab.machine("one")
    other, handle = lab.machine("other")
    send(one, VERIFY)
    sent = Sent(lambda: Selection(other).transmit(VERIFY))
    until_it_waits(lab)
    other.logout()
    assert isinstance(sent.ended().error, NotSent)
    until(lab, "one", "end with reset")
    assert handle.commands == []
    assert Sent(lambda: other.transmit(READ)).ended().answer == OK


def test_command_that_waits_elsewhere_across_a_logout_is_not_sent(lab: SharedLab) -> None:
    """For a person's answer, with the lease or without."""
    card, handle = lab.machine("vm")
    send(card, READ)
    asked, answered = threading.Event(), threading.Event()

    def ask_and_send() -> bytes:
        asked.set()
        assert answered.wait(5)
        return Selection(card).transmit(VERIFY)

    sent = Sent(ask_and_send)
    assert asked.wait(5)
    card.logout()
    until(lab, "vm", "end with reset")
    answered.set()
    assert isinstance(sent.ended().error, NotSent)
    assert handle.commands == [READ]


def test_logout_while_the_lease_comes_is_not_lost(lab: SharedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that was lost before is told to the next command all the same."""
    card, handle = lab.machine("vm")
    send(card, READ)
    until(lab, "vm", "end")
    reset = handle.reset

    def reset_and_log_out() -> bytes:
        card.logout()
        return reset()

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(handle, "reset", reset_and_log_out)
        assert isinstance(Sent(lambda: card.transmit(VERIFY)).ended().error, NotSent)
    until(lab, "vm", "end with reset")
    assert isinstance(Sent(lambda: card.transmit(READ)).ended().error, CardWasReset)
    assert Sent(lambda: card.transmit(READ)).ended().answer == OK
    assert handle.commands == [READ, READ]


def test_logout_while_the_lease_is_kept_reaches_the_command_that_began_before(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")

    def ask_and_send() -> bytes:
        with card.kept():
            card.transmit(READ)
            card.logout()
            return card.transmit(VERIFY)

    assert isinstance(Sent(ask_and_send).ended().error, NotSent)
    assert handle.commands == [READ]
    until(lab, "vm", "end with reset")


def test_logout_ends_the_lease_with_a_reset(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    send(card, VERIFY)
    before = time.monotonic()
    card.logout()
    assert until(lab, "vm", "end with reset") - before < QUICK.idle


def test_logout_resets_also_what_looked_harmless(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    send(card, CHAIN)
    card.logout()
    until(lab, "vm", "end with reset")


def test_logout_waits_for_the_command_and_no_longer(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    send(card, VERIFY)
    handle.gate.clear()
    thread = threading.Thread(target=card.transmit, args=(READ,))
    thread.start()
    assert handle.waiting.wait(5)
    card.logout()
    handle.gate.set()
    thread.join()
    with pytest.raises(CardWasReset):
        card.transmit(PROTECTED)
    assert "end with reset" in lab.physical.did("vm")


def test_logout_without_a_lease_does_nothing(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.logout()
    assert card.transmit(READ) == OK
    assert card.transmit(READ) == OK
    assert lab.physical.did("vm").count("begin") == 1


# What others did meanwhile.


def test_other_atr_needs_a_fresh_card(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.transmit(READ)
    until(lab, "vm", "end")
    lab.physical.atr = b"\x3b\x00"
    with pytest.raises(CardChanged):
        Selection(card).transmit(READ)
    assert card.power_on() == b"\x3b\x00"
    assert card.transmit(READ) == OK


def test_machine_whose_card_another_one_wrote_to_gets_it_anew(lab: SharedLab) -> None:
    reader, _ = lab.machine("reader")
    writer, _ = lab.machine("writer")
    send(reader, READ)
    send(writer, WRITE)
    with pytest.raises(CardChanged):
        reader.transmit(READ)
    send(writer, READ)
    reader.power_on()
    send(reader, READ)


def test_write_that_ends_with_an_eject_counts_too(lab: SharedLab) -> None:
    reader, _ = lab.machine("reader")
    writer, _ = lab.machine("writer")
    send(reader, READ)
    send(writer, WRITE)
    writer.power_off()
    with pytest.raises(CardChanged):
        reader.transmit(READ)


def test_card_that_changed_is_not_kept_from_others(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.transmit(READ)
    until(lab, "vm", "end")
    lab.physical.atr = b"\x3b\x00"
    with pytest.raises(CardChanged):
        card.transmit(READ)
    assert lab.physical.owner is None


def test_rule_may_want_a_fresh_card_after_every_other_holder(lab: SharedLab) -> None:
    one, _ = lab.machine("one", LeaseRules(reinsert=True))
    other, _ = lab.machine("other")
    send(one, READ)
    send(other, READ)
    with pytest.raises(CardChanged):
        one.transmit(READ)


def test_rule_may_want_a_fresh_card_after_a_lost_login(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", LeaseRules(reinsert=True))
    send(card, VERIFY)
    until(lab, "vm", "end with reset")
    with pytest.raises(CardChanged):
        card.transmit(READ)


def test_rule_may_want_a_fresh_card_after_a_reset_by_the_host(lab: SharedLab) -> None:
    card, handle = lab.machine("vm", LeaseRules(reinsert=True))
    send(card, READ)
    until(lab, "vm", "end")
    handle.resets_before_begin = 1
    with pytest.raises(CardChanged):
        card.transmit(READ)


def test_nothing_lost_is_no_reason_for_a_fresh_card(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", LeaseRules(reinsert=True))
    send(card, READ)
    until(lab, "vm", "end")
    send(card, READ)


def test_rule_may_share_the_hosts_login(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", LeaseRules(host_login=True))
    card.transmit(READ)
    until(lab, "vm", "end")
    send(card, READ)
    assert "reset" not in lab.physical.did("vm")


def test_shared_login_of_the_host_is_not_another_machines(lab: SharedLab) -> None:
    one, _ = lab.machine("one", LeaseRules(host_login=True))
    other, _ = lab.machine("other")
    send(one, READ)
    send(other, READ)
    before = len(lab.physical.deeds)
    send(one, READ)
    assert ("one", "reset") in lab.physical.deeds[before:]


# Letting go, and failures.


def test_power_off_with_the_lease_resets_the_card(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    send(card, VERIFY)
    card.power_off()
    assert lab.physical.did("vm")[-1] == "power_off"
    other, _ = lab.machine("other")
    assert other.transmit(READ) == OK


def test_power_off_without_the_lease_leaves_the_card_as_it_is(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.power_off()
    until(lab, "vm", "leave")
    card.power_off()
    assert lab.physical.did("vm") == ["power_on", "leave"]


def test_power_off_waits_for_nobody(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    other, _ = lab.machine("other")
    send(one, VERIFY)
    began = time.monotonic()
    other.power_off()
    assert time.monotonic() - began < QUICK.idle
    assert ("other", "leave") not in lab.physical.deeds
    until(lab, "other", "leave")


def test_power_on_waits_for_another_ones_lease(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    send(one, VERIFY)
    lab.machine("other")
    deeds = lab.physical.deeds
    assert deeds.index(("one", "end with reset")) < deeds.index(("other", "power_on"))


def test_power_on_that_fails_leaves_the_turn_to_others(lab: SharedLab) -> None:
    card, handle = lab.newcomer("vm")
    handle.power_ons = [CardAbsent("There is no card.")]
    with pytest.raises(CardAbsent):
        card.power_on()
    assert card.power_on() == ATR


def test_reset_ends_the_lease_too(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    send(card, VERIFY)
    assert card.reset() == ATR
    assert lab.physical.did("vm")[-2:] == ["end with reset", "power_on"]


@pytest.mark.parametrize("error", [CardAbsent("There is no card."), ReaderGone("The reader is gone.")])
def test_lease_of_a_card_that_is_gone_is_over(lab: SharedLab, error: CardError) -> None:
    card, handle = lab.machine("vm")
    other, _ = lab.newcomer("other")
    card.transmit(READ)
    handle.answers[READ] = error
    with pytest.raises(type(error)):
        card.transmit(READ)
    handle._let_go()
    card.power_off()
    other.power_on()
    send(other, READ)


def test_other_errors_of_the_card_leave_the_lease(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    send(card, VERIFY)
    handle.answers[READ] = CardError("It did not answer.")
    with pytest.raises(CardError):
        card.transmit(READ)
    until(lab, "vm", "end with reset")


def test_card_that_cannot_be_reset_is_powered_off_and_put_in_anew(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    handle.broken_reset = True
    send(card, VERIFY)
    until(lab, "vm", "power_off")
    with pytest.raises(CardChanged):
        card.transmit(READ)
    handle.broken_reset = False
    card.power_on()
    assert card.transmit(READ) == OK


def test_card_whose_lease_ends_with_a_fault_of_our_own_is_powered_off_and_left_to_others(
    lab: SharedLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, handle = lab.machine("vm")
    other, _ = lab.newcomer("other")
    monkeypatch.setattr(handle, "end", lambda *, reset: [].index(reset))
    send(card, VERIFY)
    until(lab, "vm", "power_off")
    other.power_on()
    send(other, READ)
    with pytest.raises(CardChanged):
        card.transmit(READ)


def test_events_are_the_cards_own(lab: SharedLab) -> None:
    card, handle = lab.machine("vm")
    heard: list[CardEvent] = []
    card.listen(heard.append)
    handle.report(CardEvent.REMOVED)
    assert heard == [CardEvent.REMOVED]
    assert repr(card) == "Leased('Reader')"


# For one machine alone.

ALONE = LeaseRules(exclusive=True)


def test_exclusive_card_is_never_given_up(lab: SharedLab) -> None:
    card, handle = lab.machine("vm", ALONE)
    assert handle.exclusive
    busy(card, QUICK.longest + 0.1, VERIFY)
    assert {"begin", "end", "reset"}.isdisjoint(lab.physical.did("vm"))


def test_exclusive_card_refuses_other_machines_until_it_is_out(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", ALONE)
    other, _ = lab.newcomer("other")
    with pytest.raises(CardError, match="has it for itself"):
        other.power_on()
    card.power_off()
    assert other.power_on() == ATR


def test_card_of_others_cannot_become_exclusive(lab: SharedLab) -> None:
    lab.machine("other")
    card, _ = lab.newcomer("vm")
    with pytest.raises(Busy):
        card.agree(ALONE)
    assert not card.rules.exclusive


def test_machine_that_has_the_card_may_have_it_by_other_rules(lab: SharedLab) -> None:
    """Its card goes out, and the same one comes in: there is room for that."""
    shared, _ = lab.machine("vm")
    alone, _ = lab.newcomer("vm")
    alone.agree(ALONE, instead_of=shared)
    shared.power_off()
    alone.power_on()
    again, _ = lab.newcomer("vm")
    again.agree(LeaseRules(), instead_of=alone)
    with pytest.raises(CardError, match="has it for itself"):
        again.power_on()
    alone.power_off()
    assert again.power_on() == ATR


def test_exclusive_card_can_be_powered_on_again(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", ALONE)
    card.transmit(READ)
    assert card.power_on() == ATR
    assert card.transmit(READ) == OK
    card.agree(LeaseRules())
    card.power_on()
    card.transmit(READ)
    until(lab, "vm", "end")


def test_logout_resets_an_exclusive_card_before_its_next_command(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", ALONE)
    card.transmit(VERIFY)
    card.logout()
    with pytest.raises(CardWasReset):
        card.transmit(PROTECTED)
    assert card.transmit(PROTECTED) == OK
    assert lab.physical.did("vm").count("reset") == 1


# Commands that belong together


def test_lease_that_is_kept_does_not_end_by_time(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    with card.kept():
        send(card, READ)
        threading.Event().wait(4 * QUICK.idle)
        card.transmit(READ)
        assert lab.physical.did("vm").count("begin") == 1
        kept_until = time.monotonic()
    assert until(lab, "vm", "end") >= kept_until


def test_logout_waits_for_what_is_kept(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    with card.kept():
        send(card, VERIFY)
        card.logout()
        threading.Event().wait(2 * QUICK.idle)
        card.transmit(READ)
        assert "end with reset" not in lab.physical.did("vm")
    until(lab, "vm", "end with reset")


def test_what_a_kept_lease_lost_is_told_to_the_first_command_once(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.transmit(READ)
    until(lab, "vm", "end")
    with card.kept():
        assert lab.physical.did("vm").count("begin") == 2
        with pytest.raises(CardWasReset):
            card.transmit(READ)
        assert card.transmit(READ) == OK


def test_what_a_kept_lease_lost_is_told_to_whoever_sends_a_command_later(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.transmit(READ)
    until(lab, "vm", "end")
    with card.kept():
        pass
    with pytest.raises(CardWasReset):
        card.transmit(READ)
    assert card.transmit(READ) == OK


def test_card_that_was_changed_meanwhile_is_told_to_the_first_command(lab: SharedLab) -> None:
    one, _ = lab.machine("one")
    one.transmit(READ)
    other, _ = lab.machine("other")
    other.transmit(WRITE)
    until(lab, "other", "end with reset")
    with one.kept(), pytest.raises(CardChanged):
        one.transmit(READ)


def test_lease_that_cannot_be_had_is_not_kept(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    with lab.physical.turn, pytest.raises(CardError, match="in use elsewhere"), card.kept():
        raise AssertionError("it was never had")
    send(card, READ)
    until(lab, "vm", "end")


def test_card_that_is_powered_on_anew_tells_nothing_of_before(lab: SharedLab) -> None:
    card, _ = lab.machine("vm")
    card.transmit(READ)
    until(lab, "vm", "end")
    with card.kept():
        pass
    card.power_on()
    assert card.transmit(READ) == OK


def test_exclusive_card_is_kept_anyway(lab: SharedLab) -> None:
    card, _ = lab.machine("vm", LeaseRules(exclusive=True))
    with card.kept():
        assert card.transmit(READ) == OK
    assert card.transmit(READ) == OK


@pytest.mark.parametrize("logged_in", [False, True], ids=["without a login", "with a login"])
def test_machine_that_keeps_its_lease_again_and_again_gives_it_up_like_any_other(
    lab: SharedLab, logged_in: bool
) -> None:
    """As a guest does that sends one PIN after the other and never pauses."""
    card, _ = lab.machine("busy")
    send(card, VERIFY if logged_in else READ)
    other, _ = lab.machine("other")
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            with suppress(CardError), card.kept():
                send(card, READ)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        began = time.monotonic()
        while time.monotonic() - began < 2 * QUICK.longest:
            with suppress(CardError):
                send(other, READ)
                break
        assert time.monotonic() - began < QUICK.longest + QUICK.pause + 0.3
    finally:
        over.set()
        thread.join(5)
    assert not thread.is_alive()


def test_lease_that_is_due_is_not_kept_once_more(lab: SharedLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps it again at once is faster than the clerk, and must look itself whether it is over."""
    card, _ = lab.machine("vm")
    send(card, READ)
    monkeypatch.setattr(lab.office, "poke", lambda: None)
    with card.kept():
        threading.Event().wait(2 * QUICK.idle)
        card.transmit(READ)
    threading.Event().wait(2 * QUICK.idle)
    with card.kept():
        assert lab.physical.did("vm").count("begin") == 2
        monkeypatch.undo()
