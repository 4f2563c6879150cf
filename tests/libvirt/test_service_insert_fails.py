"""Inserts that fail, that meet other calls, and sources and guests that do not answer."""

from __future__ import annotations

import asyncio

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.qemu_peer import Fault
from helpers.services import has_card, refused, running_lab, service_lab, wish_metadata
from virtcard.errors import (
    CardAbsent,
    CardError,
    Conflict,
    Failed,
    TimedOut,
)
from virtcard.service import inserter
from virtcard.service.opening import Opening

OFF = domain_xml("off", devices=XHCI)
RUN = domain_uuid("run")


@pytest.mark.parametrize("before", ["", "reader:one"])
def test_insert_that_fails_puts_back_what_was_there(before: str) -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            lab.source.card("two").power_ons = [CardAbsent("No card is in the reader.")] * 9
            if before:
                await lab.insert("run", before)
            error = await refused(lab.insert("run", "reader:two"), CardError)
            assert "No card is in the reader." in error.message
            assert lab.insertion("run") == (before or None)
            await (lab.inserted if before else lab.empty)("run", peer)
            assert lab.view("run").card == before

    run_async(scene())


def test_insert_that_fails_leaves_the_wish_standing() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            lab.source.card("two").power_ons = [CardAbsent("No card is in the reader.")] * 9
            await refused(lab.insert("run", "reader:two"), CardError)
            await lab.inserted("run", peer)
            assert lab.view("run").card == "reader:one"

    run_async(scene())


def test_card_that_comes_into_its_reader_later_can_be_inserted_again() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            lab.source.card("one").power_ons = [CardAbsent("No card is in the reader.")]
            await refused(lab.insert("run", "reader:one"), CardError)
            await lab.insert("run", "reader:one")
            assert has_card(peer)
            bridge = lab.bridge("run")
            assert bridge is not None
            assert bridge.last_error == ""

    run_async(scene())


def test_of_two_inserts_at_once_one_stays_and_the_other_is_told() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            answers = await asyncio.gather(
                lab.insert("run", "reader:one"), lab.insert("run", "reader:two"), return_exceptions=True
            )
            assert isinstance(answers[0], Conflict)
            assert answers[1] == (RUN, 0)
            await lab.inserted("run", peer)
            assert (lab.view("run").card, lab.insertion("run")) == ("reader:two", "reader:two")

    run_async(scene())


def test_disable_during_an_insert_ends_the_insert() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            card = lab.source.card("one")
            card.power_gate.clear()
            insert = asyncio.ensure_future(lab.insert("run", "reader:one"))
            await lab.until(card.waiting.is_set, "the card is being powered on")
            await lab.disable("run")
            card.power_gate.set()
            await refused(insert, Conflict)
            await lab.empty("run", peer)
            assert (lab.view("run").card, lab.insertion("run")) == ("", None)

    run_async(scene())


def test_machine_that_goes_away_ends_the_insert() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            lab.source.card("one").power_gate.clear()
            insert = asyncio.ensure_future(lab.insert("run", "reader:one"))
            await lab.until(lab.source.card("one").waiting.is_set, "the card is being powered on")
            await lab.act("run", "destroy")
            assert "went away" in (await refused(insert, Failed)).message
            lab.source.card("one").power_gate.set()
            assert lab.insertion("run") is None

    run_async(scene())


def test_guest_that_takes_no_notice_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inserter, "TAKE_NOTICE", 0.3)

    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(domain_xml("run", devices=XHCI + lab.reader("run")))
            peer = lab.peer("run")
            peer.fault = Fault.NO_ACK
            await lab.act("run", "create")
            await lab.until(lambda: lab.bridge("run"), "it has a bridge")
            await refused(lab.insert("run", "reader:one"), TimedOut)
            assert (lab.insertion("run"), lab.view("run").card) == (None, "")

    run_async(scene())


def test_source_that_blocks_holds_up_no_other_domain() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            lab.service._reconciler.seating._opening = Opening(lab.service._inserter.sources, patience=0.5)
            lab.source.gate.clear()
            insert = asyncio.ensure_future(lab.insert("run", "reader:one"))
            await lab.until(lambda: lab.source.opened, "the source is asked")
            await lab.define(OFF)
            await lab.enable("off")
            await refused(insert, TimedOut)
            await refused(lab.insert("run", "reader:one"), TimedOut)
            assert lab.source.opened == ["one"]
            lab.source.gate.set()
            await lab.until(lambda: "power_off" in lab.source.card("one").calls, "the late card is let go")
            await lab.insert("run", "reader:one")

    run_async(scene())


def test_source_with_a_fault_is_an_error_of_the_card() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            lab.source.cards["one"] = ZeroDivisionError("secret")
            error = await refused(lab.insert("run", "reader:one"), CardError)
            assert "secret" not in error.message

    run_async(scene())
