"""A machine whose state was loaded into its QEMU: what was said to that QEMU before counts no more."""

from __future__ import annotations

import asyncio
import time
from unittest.mock import patch

from helpers.bus import run_async
from helpers.domains import domain_uuid
from helpers.qemu_peer import READER_ADD, READER_REMOVE, QemuPeer
from helpers.services import ServiceLab, running_lab, wish_metadata
from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle, Resumed
from virtcard.errors import Failed
from virtcard.limits import CHANGE_GAP
from virtcard.service.changes import Changes


def _resumed(lab: ServiceLab, detail: Resumed) -> None:
    lab.service.hearing.on_event(HypervisorEvent(EventKind.LIFECYCLE, domain_uuid("run"), Lifecycle.RESUMED, detail))


def test_its_reader_is_cleared_and_its_card_goes_in_anew() -> None:
    """The incoming state has a card in the reader, which only a ReaderRemove after it takes out."""

    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            _resumed(lab, Resumed.MIGRATED)
            await lab.until(lambda: peer.connections == 2, "the conversation begins anew")
            await lab.inserted("run", peer)

    run_async(scene())


def test_what_a_call_put_in_is_put_in_again_and_what_was_ejected_stays_out() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.empty("run", peer)
            await lab.insert("run", "reader:two")
            _resumed(lab, Resumed.FROM_SNAPSHOT)
            await lab.until(lambda: peer.connections == 2, "the conversation begins anew")
            await lab.inserted("run", peer)
            assert lab.view("run").card == "reader:two"
            await lab.eject("run")
            _resumed(lab, Resumed.FROM_SNAPSHOT)
            await lab.until(lambda: peer.connections == 3, "the conversation begins anew")
            await lab.empty("run", peer)

    run_async(scene())


async def _gap(lab: ServiceLab, peer: QemuPeer, connections: int) -> float:
    """Seconds from the greeting of this conversation to its card."""
    await lab.until(lambda: peer.connections == connections and peer.types()[-1] == READER_ADD, "it is greeted")
    greeted = time.monotonic()
    await lab.inserted("run", peer)
    return time.monotonic() - greeted


def test_its_guest_has_time_to_see_the_reader_empty() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            for connections in (2, 3):
                _resumed(lab, Resumed.MIGRATED)
                assert await _gap(lab, peer, connections) > CHANGE_GAP
            assert not lab.service._reconciler.came_in

    run_async(scene())


def test_a_call_puts_no_card_in_before_that() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.empty("run", peer)
            _resumed(lab, Resumed.MIGRATED)
            await lab.until(lambda: peer.connections == 2, "the conversation begins anew")
            call = asyncio.create_task(lab.insert("run", "reader:two"))
            assert await _gap(lab, peer, 2) > CHANGE_GAP
            await call

    run_async(scene())


def test_one_that_is_gone_meanwhile_leaves_nothing_behind() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            await lab.act("run", "destroy")
            await lab.act("run", "undefine")
            _resumed(lab, Resumed.MIGRATED)
            await lab.until(lambda: not lab.service.registry.domains.get(domain_uuid("run")), "it is gone")
            assert (lab.bridge("run"), lab.service._reconciler.came_in) == (None, set())

    run_async(scene())


def test_the_longer_gap_outlasts_a_pass_that_fails() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            with patch.object(Changes, "read", side_effect=Failed("libvirt does not answer.")) as failing:
                _resumed(lab, Resumed.MIGRATED)
                await lab.until(lambda: failing.called, "the pass fails")
            await lab.service.full_pass()
            assert await _gap(lab, peer, 2) > CHANGE_GAP

    run_async(scene())


def test_a_daemon_that_ends_meanwhile_ends_in_order() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            _resumed(lab, Resumed.MIGRATED)
            await lab.until(lambda: peer.connections == 2 and peer.types()[-1] == READER_ADD, "it is greeted")
        assert peer.types()[-2:] == [READER_ADD, READER_REMOVE]

    run_async(scene())


def test_one_that_was_only_paused_goes_on_as_it_is() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            _resumed(lab, Resumed.UNPAUSED)
            await lab.settled()
            assert peer.connections == 1

    run_async(scene())
