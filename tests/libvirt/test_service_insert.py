"""Insert and eject as calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.fake_card import FakeCard
from helpers.services import has_card, refused, running_lab, service_lab, wish_metadata
from helpers.waiting import wait_until
from virtcard.bridge.runner import Bridge
from virtcard.card.base import Card
from virtcard.card.reader import ReaderInfo
from virtcard.card.reader_watcher import ReaderAdded
from virtcard.errors import (
    DomainStateError,
    Failed,
    InvalidArgument,
    NoSuchCard,
    NoSuchReader,
)

OFF = domain_xml("off", devices=XHCI)
RUN = domain_uuid("run")


def test_card_is_in_when_the_call_returns_and_out_when_the_eject_returns() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            assert await lab.insert("run", "reader:one") == (RUN, 0)
            assert has_card(peer)
            assert lab.view("run").card == "reader:one"
            bridge = lab.bridge("run")
            assert bridge is not None
            assert (bridge.state, bridge.source) == ("inserted", "reader:one")
            await lab.eject("run")
            assert not has_card(peer)
            assert lab.view("run").card == ""

    run_async(scene())


def test_inserting_the_same_card_again_changes_nothing() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.insert("run", "reader:one")
            assert lab.source.opened == ["one"]
            assert peer.types().count(5) == 1

    run_async(scene())


def test_a_card_that_is_in_before_the_loop_hears_of_it_is_never_shown_as_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bridge reported on the way is older then than what is shown."""
    insert = Bridge.insert

    def insert_at_once(bridge: Bridge, card: Card) -> bool:
        taken = insert(bridge, card)
        wait_until(lambda: bridge.status.inserted, 10, "the card is in")
        return taken

    monkeypatch.setattr(Bridge, "insert", insert_at_once)
    states = []

    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            await lab.until(lambda: (view := lab.bridge("run")) and view.state == "empty", "the bridge is ready")
            lab.service.registry.bridges.listen(lambda _key, _old, new: states.append(new and str(new.state)))
            await lab.insert("run", "reader:one")
            await lab.eject("run")

    run_async(scene())
    assert states[0] == "inserted"
    assert "inserting" not in states


def test_another_card_takes_the_place_of_the_first() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            lab.source.card("two").atr = b"\x3b\x03two"
            await lab.insert("run", "reader:one")
            await lab.insert("run", "reader:two")
            assert peer.atr is not None
            assert peer.atr.endswith(b"two")
            assert not lab.source.card("one").on

    run_async(scene())


def test_insert_in_a_domain_that_is_off_says_how_to() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(OFF)
            error = await refused(lab.insert("off", "reader:one"), DomainStateError)
            assert "virtcard enable off" in error.hint
            await lab.enable("off")
            error = await refused(lab.insert("off", "reader:one"), DomainStateError)
            assert "--config" in error.hint
            assert lab.source.opened == []

    run_async(scene())


def test_insert_config_in_a_domain_that_is_off_writes_the_wish() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(OFF)
            assert await lab.insert("off", "reader:one", config=True) is None
            assert lab.view("off").wish == "reader:one"
            await lab.until(lambda: lab.view("off").enabled, "it gets its reader")
            peer = lab.peer("off")
            await lab.act("off", "create")
            await lab.inserted("off", peer)
            await lab.eject("off", config=True)
            assert lab.view("off").wish == ""
            assert "reader:one" not in await lab.xml("off")

    run_async(scene())


def test_insert_config_in_a_running_domain_is_for_now_and_for_later() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one", config=True)
            await lab.until(lambda: lab.view("run").wish == "reader:one", "the wish is seen")
            await lab.act("run", "destroy")
            await lab.until(lambda: lab.bridge("run") is None, "it is off")
            await lab.act("run", "create")
            await lab.inserted("run", peer)

    run_async(scene())


def test_inserted_card_is_for_this_run_of_the_machine_alone() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.act("run", "destroy")
            await lab.act("run", "create")
            await lab.empty("run", peer)
            assert lab.insertion("run") is None

    run_async(scene())


def test_paused_domain_takes_no_card_and_gives_its_card_back() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.act("run", "suspend")
            error = await refused(lab.insert("run", "reader:one"), DomainStateError)
            assert "virsh resume run" in error.hint
            await lab.act("run", "resume")
            await lab.insert("run", "reader:one")
            await lab.act("run", "suspend")
            await lab.settled()
            assert has_card(peer)
            await lab.eject("run")
            assert not has_card(peer)

    run_async(scene())


def test_domain_with_a_pending_reader_is_told_apart() -> None:
    async def scene() -> None:
        async with service_lab(domain_xml("vm", devices=XHCI)) as lab:
            error = await refused(lab.insert("vm", "reader:one"), DomainStateError)
            assert "no virtual reader" in error.message
            await lab.enable("vm")
            error = await refused(lab.insert("vm", "reader:one"), DomainStateError)
            assert "fully powered off" in error.hint

    run_async(scene())


@pytest.mark.parametrize(
    ("source", "kind"),
    [("reader:none", NoSuchReader), ("cloud:x", NoSuchCard), ("one", InvalidArgument), ("reader:", InvalidArgument)],
)
def test_unknown_source_is_refused_and_changes_nothing(source: str, kind: type[Failed]) -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            await refused(lab.insert("run", source), kind)
            await lab.settled()
            assert (lab.view("run").card, lab.insertion("run")) == ("reader:one", "reader:one")
            assert has_card(peer)

    run_async(scene())


def test_insert_without_a_source_takes_the_only_card() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            readers = lab.service._readers
            await refused(lab.insert("run", ""), NoSuchCard)
            readers.hear(ReaderAdded(ReaderInfo("empty", False, b"")))
            readers.hear(ReaderAdded(ReaderInfo("one", True, b"\x3b\x00")))
            await asyncio.sleep(0)
            await lab.insert("run", "")
            assert lab.view("run").card == "reader:one"
            readers.hear(ReaderAdded(ReaderInfo("two", True, b"\x3b\x00")))
            await asyncio.sleep(0)
            error = await refused(lab.insert("run", ""), InvalidArgument)
            assert "reader:one, reader:two" in error.hint

    run_async(scene())


def test_eject_beats_the_wish_until_the_next_start() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            await lab.eject("run")
            for _ in range(3):
                await lab.settled()
            assert (peer.atr, lab.view("run").card, lab.view("run").wish) == (None, "", "reader:one")
            await lab.act("run", "destroy")
            await lab.until(lambda: lab.bridge("run") is None, "it is off")
            await lab.act("run", "create")
            await lab.inserted("run", peer)

    run_async(scene())


def test_eject_of_nothing_is_no_error() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            await lab.eject("run")
            await lab.define(OFF)
            await lab.eject("off")
            assert lab.insertion("off") is None

    run_async(scene())


def test_restarted_daemon_puts_the_card_in_again() -> None:
    """libvirt's test driver forgets the domains with the connection, so they are made again, as libvirtd keeps them."""

    async def scene(directory: Path) -> None:
        async with running_lab(directory=directory) as (lab, _peer):
            await lab.insert("run", "reader:one")
            xml = await lab.xml("run")
        async with service_lab(xml, directory=directory) as lab:
            peer = lab.peer("run")
            assert lab.view("run").state == "running"
            await lab.inserted("run", peer)
        async with service_lab(directory=directory) as lab:
            assert lab.insertion("run") is None, "a domain that is gone leaves nothing behind"

    with TemporaryDirectory(prefix="vc-") as directory:
        run_async(scene(Path(directory)))


def test_fake_cards_are_let_go_at_the_end() -> None:
    card = FakeCard()

    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            lab.source.cards["one"] = card
            await lab.insert("run", "reader:one")

    run_async(scene())
    assert not card.on
