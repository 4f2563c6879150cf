"""Viewers who were connected before virtcardd came, and a QEMU that does not say who they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from unittest.mock import patch
from uuid import UUID

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.services import ServiceLab, service_lab, wish_metadata
from virtcard.domain.hotplug import Command, Reply
from virtcard.domain.libvirt import Hypervisor
from virtcard.errors import VirtcardError

RULE = '[[rule]]\naction = "allow"\ncommands = "full"\nwhen-viewer = "viewer"\n'
HEAL = 'monitor = "heal"\n'
NOBODY = Reply({"enabled": True, "channels": []})


class Monitor:
    """In place of QEMU's; it answers when the test opens the gate."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []
        self.gate = threading.Event()
        self.error: VirtcardError | None = None

    def __call__(self, uuid: UUID, _command: Command, _passed: object = None) -> Reply:
        self.asked.append(uuid)
        assert self.gate.wait(10), "the test never opened the gate"
        if self.error:
            raise self.error
        return NOBODY


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """Every machine's."""
    made = Monitor()
    with patch.object(Hypervisor, "monitor", staticmethod(made)):
        yield made
        made.gate.set()


def wishing(*names: str) -> list[str]:
    """Machines that run from the start, with a wish; test driver's domains do."""
    return [domain_xml(name, devices=XHCI, metadata=wish_metadata("reader:one")) for name in names]


async def run_again(lab: ServiceLab, name: str) -> None:
    """Give it a reader, as after a power cycle, before the next look at its viewers."""
    await lab.act(name, "destroy")
    await lab.until(lambda: lab.view(name).state == "shut off", "it is off")
    lab.peer(name)
    await lab.act(name, "create")
    await lab.until(lambda: lab.bridge(name), "it has a bridge")


async def came_back(lab: ServiceLab) -> None:
    """The line to libvirt is up again, and nobody knows what happened meanwhile."""
    await lab.service.meet_viewers()
    await lab.service.full_pass()


def test_without_a_rule_for_viewers_no_machine_is_asked(monitor: Monitor) -> None:
    async def scene() -> None:
        async with service_lab(*wishing("one", "two")) as lab:
            await lab.settled()
            assert monitor.asked == []

    run_async(scene())


def test_a_rule_without_the_monitor_asks_nobody_and_tells_what_is_not_seen(monitor: Monitor) -> None:
    async def scene() -> None:
        async with service_lab(*wishing("one"), policy=RULE) as lab:
            lab.service.viewers.told = True
            codes = [finding.code for finding in await lab.service.check(domain_uuid("one"))]
            assert "viewers-unseen" in codes
            assert monitor.asked == []

    run_async(scene())


def test_a_monitor_that_does_not_answer_holds_up_neither_the_pass_nor_the_others(monitor: Monitor) -> None:
    async def scene() -> None:
        async with service_lab(*wishing("one", "two"), policy=RULE + HEAL) as lab:
            assert lab.service.status().libvirt == "connected", "the first pass is done"
            await lab.until(lambda: monitor.asked, "one is asked")
            assert {view.name for view in lab.service.registry.domains.values()} == {"one", "two"}
            assert len(monitor.asked) == 1, "the next one only after it"
            monitor.gate.set()
            await lab.until(lambda: len(monitor.asked) == 2, "the other is asked")
            await came_back(lab)
            await lab.until(lambda: len(monitor.asked) == 4, "they are asked again after libvirt was away")

    run_async(scene())


def test_a_card_waits_until_it_is_known_whether_a_viewer_has_one_and_one_that_is_in_stays(monitor: Monitor) -> None:
    async def scene() -> None:
        async with service_lab(*wishing("one"), policy=RULE) as lab:
            await run_again(lab, "one")
            await lab.until(lambda: lab.view("one").card == "reader:one", "nobody can have come before")
            lab.service.viewers.expect(domain_uuid("one"))
            await lab.settled()
            assert lab.view("one").card == "reader:one", "it stays in"
            lab.service._reconciler.seating.take_out((domain_uuid("one"), 0))
            await lab.settled()
            assert "goes before reader:one" in lab.view("one").last_error
            lab.service.viewers.met(domain_uuid("one"), ())
            await lab.until(lambda: lab.view("one").card == "reader:one", "it is in again")
            assert monitor.asked == []

    run_async(scene())
