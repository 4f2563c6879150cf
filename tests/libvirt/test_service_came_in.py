"""A machine whose state was loaded into its QEMU: what was said to that QEMU before counts no more."""

from __future__ import annotations

from helpers.bus import run_async
from helpers.domains import domain_uuid
from helpers.services import ServiceLab, running_lab, wish_metadata
from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle, Resumed


def _resumed(lab: ServiceLab, detail: Resumed) -> None:
    lab.service.on_event(HypervisorEvent(EventKind.LIFECYCLE, domain_uuid("run"), Lifecycle.RESUMED, detail))


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


def test_one_that_was_only_paused_goes_on_as_it_is() -> None:
    async def scene() -> None:
        async with running_lab(wish_metadata("reader:one")) as (lab, peer):
            await lab.inserted("run", peer)
            _resumed(lab, Resumed.UNPAUSED)
            await lab.settled()
            assert peer.connections == 1

    run_async(scene())
