"""What the service counts of a bridge, on libvirt's test driver and with a stand-in for QEMU."""

from __future__ import annotations

from collections.abc import Callable

from helpers.bus import run_async
from helpers.qemu_peer import QemuPeer
from helpers.services import ServiceLab, running_lab
from virtcard.card.audit import Counts
from virtcard.errors import CardWasReset

SELECT = bytes.fromhex("00A4040009A0000003080000100000")
VERIFY = b"\x00\x20\x00\x80\x06123456"
TRIES_LEFT = b"\x63\xc2"
GET_DATA = b"\x00\xca\x00\x65\x00"


def after_a_reset() -> Callable[[bytes], bytes]:
    """The first command finds that somebody reset the card."""
    resets = [CardWasReset("Somebody reset the card.")]

    def answer(_command: bytes) -> bytes:
        if resets:
            raise resets.pop()
        return b"\x90\x00"

    return answer


def counts(lab: ServiceLab) -> Counts:
    bridge = lab.bridge("run")
    assert bridge is not None
    return bridge.counts


async def with_card(lab: ServiceLab, peer: QemuPeer, name: str) -> None:
    await lab.insert("run", f"reader:{name}")
    await lab.inserted("run", peer)


def test_a_guests_commands_and_wrong_pins_show_in_the_counters_of_its_bridge() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            lab.source.card("one").answers[VERIFY] = TRIES_LEFT
            await with_card(lab, peer, "one")
            assert peer.exchange(SELECT) == b"\x90\x00"
            assert peer.exchange(VERIFY) == TRIES_LEFT
            await lab.until(lambda: counts(lab).commands, "the counters are brought up to date")
            assert counts(lab) == Counts(
                {"SELECT": 1, "VERIFY": 1}, 0, 1, 0, len(SELECT) + len(VERIFY), len(b"\x90\x00" + TRIES_LEFT)
            )

    run_async(scene())


def test_the_counters_go_on_when_another_card_is_put_in() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            lab.source.card("two").atr = b"\x3b\x03two"
            for name in ("one", "two"):
                await with_card(lab, peer, name)
                peer.exchange(SELECT)
            await lab.until(lambda: counts(lab).commands == {"SELECT": 2}, "both are counted")

    run_async(scene())


def test_a_bridge_is_active_while_its_guest_talks_to_the_card_and_not_for_long_afterwards() -> None:
    def active(lab: ServiceLab) -> bool:
        bridge = lab.bridge("run")
        return bridge is not None and bridge.active

    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await with_card(lab, peer, "one")
            await lab.settled()
            assert not active(lab), "a card that lies in the reader is not used"
            peer.exchange(SELECT)
            await lab.until(lambda: active(lab), "it is active")
            peer.exchange(SELECT)
            await lab.until(lambda: not active(lab), "it is quiet")

    run_async(scene())


def test_what_selection_replays_after_a_reset_is_not_the_guests() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await with_card(lab, peer, "one")
            card = lab.source.card("one")
            card.answers[GET_DATA] = after_a_reset()
            peer.exchange(SELECT)
            peer.exchange(GET_DATA)
            assert card.commands == [SELECT, GET_DATA, SELECT, GET_DATA]
            await lab.until(lambda: len(counts(lab).commands) == 2, "both are counted")
            assert counts(lab).commands == {"SELECT": 1, "GET DATA": 1}

    run_async(scene())
