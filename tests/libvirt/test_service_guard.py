"""The guard in the service: what a rule says of commands and PINs holds in the bridge, for every machine together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from helpers.bus import run_async
from helpers.fake_card import FakeCard
from helpers.qemu_peer import ATR, QemuPeer
from helpers.services import FakeSource, ServiceLab, running_lab
from helpers.soft_cards import PIN_DIGITS, empty_card
from virtcard.card.audit import Counts
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store

ALLOW = 'action = "allow"\n'
JANE = "reader:jane"
SELECT = bytes.fromhex("00A4040005A000000308")
VERIFY = bytes.fromhex("0020008008") + PIN_DIGITS + b"\xff\xff"
WRONG = bytes.fromhex("0020008008") + b"999999\xff\xff"
TRIES = bytes.fromhex("00200080")
GENERATE = bytes.fromhex("0047009A05AC03800107")
CHANGE = bytes.fromhex("0024008010") + PIN_DIGITS + b"\xff\xff" + b"222222\xff\xff"

OK = b"\x90\x00"
REFUSED = b"\x69\x82"
NOT_THERE = b"\x6d\x00"
BLOCKED = b"\x69\x83"


@asynccontextmanager
async def piv_lab(rule: str) -> AsyncIterator[tuple[ServiceLab, QemuPeer]]:
    """A machine that runs, and a software PIV card that may be put in by this rule."""
    with TemporaryDirectory(prefix="vc-") as directory:
        store = Store(Path(directory) / "cards")
        empty_card(store, "jane")
        source = FakeSource()
        source.cards["jane"] = cast(FakeCard, SoftSource(store).open("jane"))
        async with running_lab(policy=f"[[rule]]\n{rule}", source=source) as (lab, peer):
            yield lab, peer


async def with_piv(lab: ServiceLab, peer: QemuPeer) -> None:
    """The card in the machine, with its application selected."""
    await lab.insert("run", JANE)
    await lab.inserted("run", peer)
    assert peer.exchange(SELECT)[-2] in (0x61, 0x90)


def counts(lab: ServiceLab) -> Counts:
    """Of the machine's bridge."""
    bridge = lab.bridge("run")
    assert bridge is not None
    return bridge.counts


def test_use_lets_a_guest_log_in_and_change_nothing() -> None:
    async def scene() -> None:
        async with piv_lab(ALLOW) as (lab, peer):
            await with_piv(lab, peer)
            assert peer.exchange(VERIFY) == OK
            assert peer.exchange(GENERATE) == NOT_THERE
            assert peer.exchange(CHANGE) == NOT_THERE
            await lab.until(lambda: counts(lab).refused == 2, "what was refused is counted")

    run_async(scene())


def test_read_lets_no_pin_through() -> None:
    async def scene() -> None:
        async with piv_lab(f'{ALLOW}commands = "read"') as (lab, peer):
            await with_piv(lab, peer)
            assert peer.exchange(VERIFY) == REFUSED
            assert peer.exchange(TRIES) == b"\x63\xc3"

    run_async(scene())


def test_a_table_of_the_rule_allows_and_denies() -> None:
    async def scene() -> None:
        table = '[rule.commands.A000000308]\nallow = ["24"]\ndeny = ["20"]\n'
        async with piv_lab(ALLOW + table) as (lab, peer):
            await with_piv(lab, peer)
            assert peer.exchange(VERIFY) == REFUSED
            assert peer.exchange(CHANGE) == OK

    run_async(scene())


def test_wrong_pins_end_at_the_reserve_and_the_card_is_not_blocked() -> None:
    async def scene() -> None:
        async with piv_lab(f"{ALLOW}pin-reserve = 1") as (lab, peer):
            await with_piv(lab, peer)
            assert [peer.exchange(WRONG) for _ in range(5)] == [b"\x63\xc2", b"\x63\xc1", *[BLOCKED] * 3]
            assert peer.exchange(TRIES) == b"\x63\xc1"
            await lab.until(lambda: counts(lab).pin_stops == 3, "the stops are counted")

    run_async(scene())


def test_a_change_of_the_rule_acts_on_the_card_that_is_in() -> None:
    async def scene() -> None:
        async with piv_lab(ALLOW) as (lab, peer):
            await with_piv(lab, peer)
            assert peer.exchange(VERIFY) == OK
            await lab.policy(f'{ALLOW}commands = "read"')
            await lab.until(lambda: peer.types().count(ATR) == 2, "the card goes in anew")
            await lab.inserted("run", peer)
            peer.exchange(SELECT)
            assert peer.exchange(VERIFY) == REFUSED

    run_async(scene())
