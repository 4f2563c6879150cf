"""What reader events mean, and which reader a source means: no pcscd here."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smartcard import scard

from helpers.fake_contexts import BrokenContexts
from helpers.memory_pcsc import MemoryPcsc
from helpers.waiting import wait_until
from virtcard.card.base import CardEvent
from virtcard.card.reader import Context, Disposition, PcscError, ReaderInfo, Result, State
from virtcard.card.reader_card import ReaderCard
from virtcard.card.reader_source import choose
from virtcard.card.reader_watcher import (
    ReaderAdded,
    ReaderChanged,
    ReaderEvent,
    ReaderRemoved,
    ReaderWatcher,
    Service,
    ServiceChanged,
    card_events,
    differences,
)
from virtcard.errors import CardAbsent, CardError, NoSuchReader, ReaderGone, VirtcardError

YUBIKEY = "Yubico YubiKey OTP+FIDO+CCID 00 00"
GEMALTO = "Gemalto USB SmartCard Reader 433-Swap [CCID Interface] 01 00"
EMPTY = ReaderInfo(YUBIKEY, present=False, atr=b"", events=0)
FULL = ReaderInfo(YUBIKEY, present=True, atr=b"\x3b\x00", events=1)
SWAPPED = ReaderInfo(YUBIKEY, present=True, atr=b"\x3b\x00", events=3)
OTHER = ReaderInfo(GEMALTO, present=True, atr=b"\x3b\x00", events=1)

INSERTED = (CardEvent.INSERTED,)
REMOVED = (CardEvent.REMOVED,)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ReaderAdded(FULL), INSERTED),
        (ReaderAdded(EMPTY), ()),
        (ReaderRemoved(FULL), REMOVED),
        (ReaderRemoved(EMPTY), ()),
        (ReaderChanged(EMPTY, FULL), INSERTED),
        (ReaderChanged(FULL, EMPTY), REMOVED),
        (ReaderChanged(FULL, SWAPPED), REMOVED + INSERTED),
        (ReaderAdded(OTHER), ()),
        (ReaderRemoved(OTHER), ()),
        (ServiceChanged(Service.AWAY), ()),
    ],
)
def test_card_events_of_a_reader_event(event: ReaderEvent, expected: tuple[CardEvent, ...]) -> None:
    assert card_events(event, YUBIKEY) == expected


def test_a_swap_for_a_card_of_the_same_kind_shows_in_the_event_count_alone() -> None:
    assert differences({YUBIKEY: FULL}, {YUBIKEY: SWAPPED}) == [ReaderChanged(FULL, SWAPPED)]


READERS = st.builds(ReaderInfo, st.sampled_from(["A", "B", "C"]), st.booleans(), st.just(b""), st.integers(0, 3))
SHELVES = st.lists(READERS).map(lambda readers: {reader.name: reader for reader in readers})


@given(before=SHELVES, now=SHELVES)
def test_differences_lead_from_one_state_to_the_next(before: dict[str, ReaderInfo], now: dict[str, ReaderInfo]) -> None:
    shelf = dict(before)
    for event in differences(before, now):
        match event:
            case ReaderRemoved(reader):
                assert shelf.pop(reader.name) == reader
            case ReaderAdded(reader):
                assert reader.name not in shelf
                shelf[reader.name] = reader
            case ReaderChanged(old, reader):
                assert shelf[reader.name] == old
                shelf[reader.name] = reader
    assert shelf == now


def test_a_name_with_brackets_is_found_by_itself() -> None:
    assert choose([EMPTY, OTHER], GEMALTO) is OTHER


def test_a_glob_finds_the_only_match() -> None:
    assert choose([EMPTY, OTHER], "Yubico*") is EMPTY


def test_a_glob_with_two_matches_takes_the_one_with_a_card() -> None:
    assert choose([EMPTY, OTHER], "*") is OTHER


def test_globs_are_case_sensitive() -> None:
    with pytest.raises(NoSuchReader):
        choose([EMPTY], "yubico*")


def test_no_reader_at_all_is_said() -> None:
    with pytest.raises(NoSuchReader) as caught:
        choose([], "*")
    assert caught.value.hint == "No reader is plugged in."


@given(names=st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=4), at=st.integers(0, 3))
def test_every_name_finds_its_reader(names: list[str], at: int) -> None:
    readers = [ReaderInfo(name, present=True, atr=b"\x3b\x00") for name in names]
    wanted = readers[at % len(readers)]
    assert choose(readers, wanted.name) is wanted


@pytest.mark.parametrize("result", [result for result in Result if result is not Result.SUCCESS])
def test_results_are_the_numbers_of_pcsc_lite(result: Result) -> None:
    names = (f"SCARD_{kind}_{result.name}" for kind in ("E", "W", "F"))
    assert result in {getattr(scard, name) & 0xFFFFFFFF for name in names if hasattr(scard, name)}


def test_states_and_dispositions_are_the_numbers_of_pcsc_lite() -> None:
    assert State.CHANGED == scard.SCARD_STATE_CHANGED
    assert State.PRESENT == scard.SCARD_STATE_PRESENT
    assert [*Disposition] == [scard.SCARD_LEAVE_CARD, scard.SCARD_RESET_CARD, scard.SCARD_UNPOWER_CARD]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (Result.NO_SMARTCARD, CardAbsent, "no card"),
        (Result.REMOVED_CARD, CardAbsent, "no card"),
        (Result.UNKNOWN_READER, ReaderGone, "is gone"),
        (Result.READER_UNAVAILABLE, ReaderGone, "is gone"),
        (Result.NO_SERVICE, ReaderGone, "pcscd"),
        (Result.SERVICE_STOPPED, ReaderGone, "pcscd"),
        (Result.INVALID_HANDLE, ReaderGone, "pcscd"),
        (Result.UNRESPONSIVE_CARD, CardError, "does not answer"),
        (Result.SHARING_VIOLATION, CardError, "for itself"),
        (Result.SECURITY_VIOLATION, CardError, "keeps"),
        (Result.NOT_TRANSACTED, CardError, "0x80100016"),
        (0x80109999, CardError, "0x80109999"),
    ],
)
def test_every_failure_of_power_on_is_a_sentence_with_a_hint(code: int, kind: type[CardError], words: str) -> None:
    contexts = BrokenContexts(code)
    with pytest.raises(kind, match=words) as caught:
        ReaderCard(YUBIKEY, contexts, ReaderWatcher()).power_on()
    assert type(caught.value) is kind
    assert caught.value.message.endswith((".", ")."))
    assert caught.value.hint.endswith((".", "pcscd.socket"))
    assert contexts.users == (0 if kind is not CardError else 1)


def test_a_failed_pcsc_call_is_an_error_of_ours() -> None:
    failure = PcscError(Result.NOT_TRANSACTED)
    assert isinstance(failure, VirtcardError)
    assert failure.code == Result.NOT_TRANSACTED


def test_a_reset_by_another_program_during_power_on_costs_nothing() -> None:
    contexts = BrokenContexts(Result.RESET_CARD, times=1)
    assert ReaderCard(YUBIKEY, contexts, ReaderWatcher()).power_on() == contexts.atr()
    assert contexts.users == 1


def test_resets_by_another_program_without_end_are_a_failure() -> None:
    contexts = BrokenContexts(Result.RESET_CARD)
    with pytest.raises(CardError):
        ReaderCard(YUBIKEY, contexts, ReaderWatcher()).power_on()


def test_a_reader_that_comes_or_goes_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pcsc = MemoryPcsc()
    monkeypatch.setattr("virtcard.card.reader.scard", pcsc)
    watcher = ReaderWatcher()
    watcher.start()
    try:
        names = [f"Reader {number}" for number in range(3)]
        for name in names:
            pcsc.plug(name)
            wait_until(partial(tells, watcher, name), 2, "it is told to be there")
        for name in names:
            pcsc.unplug(name)
            wait_until(partial(tells, watcher, name, there=False), 2, "it is told to be gone")
    finally:
        watcher.stop()


def test_the_count_of_events_goes_back_to_pcscd_so_that_a_quick_swap_is_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pcsc = MemoryPcsc()
    monkeypatch.setattr("virtcard.card.reader.scard", pcsc)
    pcsc.plug("Reader")
    context = Context()
    ((_, known),) = context.wait({"Reader": int(State.UNAWARE)}, 0)
    assert known == State.PRESENT | 1 << 16
    ((_, again),) = context.wait({"Reader": known}, 0)
    assert again == known


def tells(watcher: ReaderWatcher, name: str, *, there: bool = True) -> bool:
    return (name in [reader.name for reader in watcher.readers]) is there
