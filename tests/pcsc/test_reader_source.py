"""`reader:GLOB` against a real pcscd."""

from __future__ import annotations

import pytest

from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.scripted_card import ATR_T0, ATR_T1, ScriptedCard
from virtcard.card.base import Source
from virtcard.card.reader_source import ReaderSource, present_readers
from virtcard.errors import Disconnected, NoSuchReader


def test_reader_source_is_a_source(lab: Lab) -> None:
    source: Source = ReaderSource(lab.watcher)
    lab.plug(ScriptedCard())
    assert source.open(READERS[0]).power_on() == ATR_T0


def test_glob_takes_the_only_reader_with_a_card(lab: Lab) -> None:
    lab.plug(ScriptedCard(ATR_T1), 1)
    card = ReaderSource(lab.watcher).open("Virtual*")
    assert card.reader == READERS[1]
    assert card.power_on() == ATR_T1


def test_glob_for_one_reader_needs_no_card(lab: Lab) -> None:
    assert ReaderSource(lab.watcher).open("*00 01").reader == READERS[1]


def test_two_readers_without_a_card_are_named_in_the_error(lab: Lab) -> None:
    with pytest.raises(NoSuchReader) as caught:
        ReaderSource(lab.watcher).open("Virtual*")
    assert all(name in caught.value.message for name in READERS)


def test_two_readers_with_cards_are_named_in_the_error(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    lab.plug(ScriptedCard(), 1)
    with pytest.raises(NoSuchReader) as caught:
        ReaderSource(lab.watcher).open("Virtual*")
    assert all(name in caught.value.message for name in READERS)


def test_no_match_lists_the_readers_in_the_hint(lab: Lab) -> None:
    with pytest.raises(NoSuchReader) as caught:
        ReaderSource(lab.watcher).open("Yubico*")
    assert all(name in caught.value.hint for name in READERS)


def test_without_pcscd_the_source_says_so(lab: Lab) -> None:
    lab.pcscd.stop()
    with pytest.raises(Disconnected, match="pcscd"):
        ReaderSource(lab.watcher).open("*")


def test_present_readers_show_their_cards(lab: Lab) -> None:
    lab.plug(ScriptedCard(), 1)
    assert [(reader.name, reader.atr) for reader in present_readers()] == [(READERS[0], b""), (READERS[1], ATR_T0)]


def test_two_opens_of_one_reader_share_its_card(lab: Lab) -> None:
    lab.plug(ScriptedCard())
    source = ReaderSource(lab.watcher)
    first, second = source.open(READERS[0]), source.open(READERS[0])
    assert first.power_on() == second.power_on() == ATR_T0
