"""A card that went out a moment ago is wanted again, while its bridge has not let it go yet."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from helpers.bus import run_async
from helpers.services import FakeSource, ServiceLab, running_lab
from helpers.shared_card import SharedLab
from helpers.soft_cards import empty_card
from virtcard.card.base import Card
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.service.seat import Person, Presence

HERE = Person(os.getuid(), "2")
CARD = "reader:jane"
"""The lab has one scheme, whatever its source opens."""


class InOneReader(FakeSource):
    """Each time another handle on the card in one reader."""

    def __init__(self) -> None:
        super().__init__()
        self._lab = SharedLab()

    def open(self, rest: str) -> Card:
        leased, _ = self._lab.newcomer(rest)
        return leased


class Software(FakeSource):
    """Cards of a store, which have one opener at a time."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        store = Store(directory / "cards")
        for name in ("jane", "joe"):
            empty_card(store, name)
        self._store = SoftSource(store)

    def open(self, rest: str) -> Card:
        return self._store.open(rest)


async def lock_and_unlock(lab: ServiceLab) -> None:
    for locked in (True, False):
        lab.daemon.seat.take(Presence(HERE, locked))


async def deny_and_allow(lab: ServiceLab) -> None:
    await lab.policy('action = "deny"')
    await lab.policy('action = "allow"')


async def another_and_back(lab: ServiceLab) -> None:
    joe = asyncio.ensure_future(lab.insert("run", "reader:joe"))
    await lab.until(lambda: lab.view("run").card == "reader:joe", "the other one is on its way")
    await lab.insert("run", CARD)
    await asyncio.gather(joe, return_exceptions=True)


@pytest.mark.parametrize("what", [lock_and_unlock, deny_and_allow, another_and_back])
def test_a_software_card_is_back_at_once(what: Callable[[ServiceLab], Awaitable[None]], tmp_path: Path) -> None:
    async def scene() -> None:
        rule = '[[rule]]\naction = "allow"\nwhen-locked = "eject"\n'
        async with running_lab(source=Software(tmp_path), policy=rule) as (lab, peer):
            lab.daemon.seat.take(Presence(HERE))
            await lab.insert("run", CARD)
            await lab.inserted("run", peer)
            await what(lab)
            await lab.until(lambda: lab.view("run").card == CARD, "it is on its way")
            await lab.inserted("run", peer)
            assert lab.view("run").last_error == ""

    run_async(scene())


def test_a_person_is_asked_at_once_for_a_software_card_that_was_in_without_a_question(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_lab(source=Software(tmp_path)) as (lab, peer):
            await lab.insert("run", CARD)
            await lab.inserted("run", peer)
            await lab.policy('action = "ask"')
            await lab.until(lambda: "Nobody is logged in" in lab.view("run").last_error, "somebody is to be asked")

    run_async(scene())


def test_a_reader_that_one_machine_has_for_itself_is_its_own_again_at_once() -> None:
    async def scene() -> None:
        rule = '[[rule]]\naction = "allow"\nwhen-locked = "eject"\nsharing = "exclusive"\n'
        async with running_lab(source=InOneReader(), policy=rule) as (lab, peer):
            lab.daemon.seat.take(Presence(HERE))
            await lab.insert("run", CARD)
            await lab.inserted("run", peer)
            await lock_and_unlock(lab)
            await lab.until(lambda: lab.view("run").card == CARD, "it is on its way")
            await lab.inserted("run", peer)

    run_async(scene())
