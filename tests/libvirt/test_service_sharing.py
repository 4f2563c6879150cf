"""Sharing in the service: what a rule says of it holds in the bridges, and a login ends with whoever logged in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.fake_card import FakeCard
from helpers.qemu_peer import QemuPeer
from helpers.services import FakeSource, ServiceLab, refused, service_lab
from helpers.shared_card import PROTECTED, VERIFY, Physical, SharedFake
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.office import LeaseOffice
from virtcard.card.lease.rules import LeaseTimes
from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.errors import Busy

CARD = "reader:shared"
ALLOW = 'action = "allow"\ncommands = "full"\n'
EXCLUSIVE = f'{ALLOW}sharing = "exclusive"'
OK = b"\x90\x00"
DENIED = b"\x69\x82"
PATIENT = LeaseTimes(idle=0.05, idle_logged_in=60, last_call=60, longest=60, pause=0.03, patience=5)
"""A lease with a login ends by nothing but a logout here."""


class PinFake(SharedFake):
    """A handle on a card that asks for a PIN; a reset ends its login."""

    def transmit(self, command: bytes) -> bytes:
        answer = super().transmit(command)
        if command == VERIFY:
            self.physical.logged_in = True
        return DENIED if command == PROTECTED and not self.physical.logged_in else answer


class SharingSource(FakeSource):
    """`reader:shared`, one card for all who open it, as leases have it."""

    def __init__(self) -> None:
        super().__init__()
        self.physical = Physical()
        self.office = LeaseOffice("Reader", PATIENT)

    def open(self, rest: str) -> Leased | FakeCard:
        """A handle of its own for each machine, by the reader's name too."""
        if rest not in ("shared", "Reader"):
            return self.card(rest)
        self.opened.append(rest)
        return Leased(PinFake(self.physical, f"handle {len(self.opened)}"), self.office)


@asynccontextmanager
async def two_machines(rule: str) -> AsyncIterator[tuple[ServiceLab, QemuPeer, QemuPeer]]:
    """Two that run, each with a reader that is empty."""
    async with service_lab(source=SharingSource(), policy=f"[[rule]]\n{rule}") as lab:
        peers = []
        for name in ("one", "two"):
            await lab.define(domain_xml(name, devices=XHCI + lab.reader(name)))
            peers.append(lab.peer(name))
            await lab.act(name, "create")
            await lab.until(partial(lab.bridge, name), "it has a bridge")
        yield lab, peers[0], peers[1]


async def put_in(lab: ServiceLab, name: str, peer: QemuPeer) -> None:
    await lab.insert(name, CARD)
    await lab.inserted(name, peer)


def test_card_serves_two_machines_and_none_profits_from_the_other() -> None:
    async def scene() -> None:
        async with two_machines(ALLOW) as (lab, one, two):
            await put_in(lab, "one", one)
            await put_in(lab, "two", two)
            assert one.exchange(VERIFY) == one.exchange(PROTECTED) == OK
            lab.service._reconciler.seating.logout(domain_uuid("one"))
            assert two.exchange(PROTECTED) == DENIED

    run_async(scene())


def test_exclusive_card_is_for_one_machine_alone() -> None:
    async def scene() -> None:
        async with two_machines(EXCLUSIVE) as (lab, one, two):
            await put_in(lab, "one", one)
            error = await refused(lab.insert("two", CARD), Busy)
            assert "has it for itself" in error.message
            assert lab.view("two").card == ""
            await lab.eject("one")
            await put_in(lab, "two", two)

    run_async(scene())


def test_refused_insert_leaves_in_what_is_in() -> None:
    async def scene() -> None:
        async with two_machines(EXCLUSIVE) as (lab, one, two):
            await put_in(lab, "one", one)
            await lab.insert("two", "reader:two")
            await lab.inserted("two", two)
            await refused(lab.insert("two", CARD), Busy)
            assert two.exchange(b"\x00\xb0\x00\x00\x10") == OK
            assert lab.view("two").card == "reader:two"

    run_async(scene())


def test_change_of_the_rule_acts_on_the_card_that_is_in() -> None:
    async def scene() -> None:
        async with two_machines(ALLOW) as (lab, one, two):
            await put_in(lab, "one", one)
            await lab.policy(EXCLUSIVE)
            await lab.until(lambda: len(lab.source.opened) == 2, "it goes in anew")
            await lab.inserted("one", one)
            await refused(lab.insert("two", CARD), Busy)
            await lab.policy(ALLOW)
            await lab.until(lambda: len(lab.source.opened) == 4, "it goes in anew")
            await lab.inserted("one", one)
            await put_in(lab, "two", two)

    run_async(scene())


@pytest.mark.parametrize("happens", ["reset", "pause"])
def test_login_ends_when_the_machine_is_not_the_same_any_more(happens: str) -> None:
    async def scene() -> None:
        async with two_machines(ALLOW) as (lab, one, _two):
            await put_in(lab, "one", one)
            assert one.exchange(VERIFY) == one.exchange(PROTECTED) == OK
            if happens == "reset":
                lab.service.hearing.on_event(HypervisorEvent(EventKind.REBOOT, domain_uuid("one")))
            else:
                await lab.act("one", "suspend")
                await lab.act("one", "resume")
            await lab.until(lambda: one.exchange(PROTECTED) == DENIED, "the PIN is to be entered again")
            assert lab.view("one").card == CARD

    run_async(scene())


def test_what_happens_to_one_machine_does_not_log_out_another() -> None:
    async def scene() -> None:
        async with two_machines(ALLOW) as (lab, one, two):
            await put_in(lab, "one", one)
            await put_in(lab, "two", two)
            assert one.exchange(VERIFY) == OK
            lab.service.hearing.on_event(HypervisorEvent(EventKind.REBOOT, domain_uuid("two")))
            assert one.exchange(PROTECTED) == OK

    run_async(scene())


def test_every_login_ends_when_the_host_goes_to_sleep_and_the_cards_stay_in() -> None:
    async def scene() -> None:
        async with two_machines(ALLOW) as (lab, one, two):
            await put_in(lab, "one", one)
            await lab.insert("two", "reader:one")
            await lab.inserted("two", two)
            assert one.exchange(VERIFY) == one.exchange(PROTECTED) == OK
            lab.service.hearing.host_sleeps()
            assert one.exchange(PROTECTED) == DENIED
            assert two.exchange(PROTECTED) == OK
            assert lab.source.card("one").calls[-1] == "reset"
            assert (lab.view("one").card, lab.view("two").card) == (CARD, "reader:one")

    run_async(scene())


def test_login_to_a_card_that_nobody_shares_ends_too() -> None:
    async def scene() -> None:
        async with two_machines(ALLOW) as (lab, one, _two):
            await lab.insert("one", "reader:one")
            await lab.inserted("one", one)
            lab.service.hearing.on_event(HypervisorEvent(EventKind.REBOOT, domain_uuid("one")))
            assert one.exchange(PROTECTED) == OK
            assert lab.source.card("one").calls[-1] == "reset"

    run_async(scene())
