"""A card that went out a moment ago is wanted again, while its bridge has not let it go yet."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.services import FakeSource, ServiceLab, running_lab, wish_metadata
from helpers.shared_card import SharedLab
from helpers.soft_cards import empty_card
from virtcard.bridge.worker import Worker
from virtcard.card.base import Card
from virtcard.card.soft.iso7816 import SoftCard
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.service import hearing
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


def test_a_software_card_that_one_machine_lets_go_is_in_the_one_that_waits_for_it_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_lab(source=Software(tmp_path)) as (lab, peer):
            await lab.insert("run", CARD)
            await lab.inserted("run", peer)
            waiting = domain_xml("waiting", devices=XHCI + lab.reader("waiting"), metadata=wish_metadata(CARD))
            await lab.define(waiting)
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("waiting")), "it is seen")
            its = lab.peer("waiting")
            await lab.act("waiting", "create")
            await lab.until(lambda: "in use" in lab.view("waiting").last_error, "it waits for the card")
            await lab.act("run", "destroy")
            await lab.inserted("waiting", its)
            assert lab.view("waiting").last_error == ""

    run_async(scene())


def test_a_card_in_which_a_thread_of_a_bridge_is_that_ended_goes_into_the_next_one_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "BRIDGE_PAUSE", 0.2)
    inside, gate = threading.Event(), threading.Event()

    def hang(_card: SoftCard, _command: bytes) -> bytes:
        inside.set()
        assert gate.wait(30)
        return b"\x90\x00"

    def broken(_worker: Worker, *_arguments: object) -> None:
        raise ValueError("a bug")

    async def scene() -> None:
        async with running_lab(source=Software(tmp_path)) as (lab, peer):
            await lab.insert("run", CARD)
            await lab.inserted("run", peer)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(SoftCard, "transmit", hang)
                peer.send_apdu(bytes.fromhex("00a4040000"))
                await lab.until(inside.is_set, "a thread is inside the card")
                patched.setattr(Worker, "_converse", broken)
                lab.service._reconciler.bridges.at((domain_uuid("run"), 0)).bridge.eject()
                await lab.until(lambda: lab.ended("run"), "the bridge has ended")
            await lab.until(lambda: "still at work" in lab.trouble("run"), "the next one waits for the card")
            gate.set()
            await lab.inserted("run", peer)
            assert lab.view("run").last_error == ""

    run_async(scene())
