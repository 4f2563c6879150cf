"""A card that is made again whenever it gets power."""

from __future__ import annotations

import pytest

from virtcard.card.soft.iso7816 import ATR, SoftCard
from virtcard.card.soft.remade import RemadeCard
from virtcard.errors import CardAbsent


class Factory:
    def __init__(self) -> None:
        self.made = self.closed = 0

    def __call__(self) -> SoftCard:
        self.made += 1
        return SoftCard((), ATR, self._close)

    def _close(self) -> None:
        self.closed += 1


def test_it_is_made_with_the_power_and_let_go_with_it() -> None:
    factory = Factory()
    card = RemadeCard(factory)
    for round_ in (1, 2):
        assert card.power_on() == ATR
        assert card.power_on() == ATR
        assert (factory.made, factory.closed) == (round_, round_ - 1)
        card.power_off()
        card.power_off()
        assert factory.closed == round_


def test_without_power_there_is_no_card() -> None:
    card = RemadeCard(Factory())
    with pytest.raises(CardAbsent):
        card.transmit(b"\0\xa4\4\0")
    with pytest.raises(CardAbsent):
        card.reset()


def test_commands_and_resets_reach_the_card() -> None:
    card = RemadeCard(Factory())
    card.power_on()
    assert card.transmit(bytes.fromhex("0084000008"))[-2:] == b"\x90\0"
    assert card.reset() == ATR
