"""What goes wrong around the service, and goes on nevertheless."""

from __future__ import annotations

import asyncio
import errno
import os
import time

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.services import has_card, refused, running_lab, service_lab, wish_metadata
from virtcard.bridge.poller import Wakeup
from virtcard.bridge.worker import Worker
from virtcard.card.base import CardEvent
from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.domain.record import DomainRecord
from virtcard.errors import Disconnected, Failed, LibvirtFailed
from virtcard.service import core, hearing, pace, passes
from virtcard.service.reconcile import Reconciler
from virtcard.service.running import Running

NAMES = ("a", "b", "c")
DOMAINS = [domain_xml(name, devices=XHCI) for name in NAMES]


@pytest.mark.parametrize("error", [Failed("No space is left."), ValueError("a bug")])
def test_fault_at_one_domain_keeps_no_other_from_its_pass(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    real = Reconciler.reconcile

    async def reconcile(self: Reconciler, record: DomainRecord) -> None:
        if record.name == "a":
            raise error
        await real(self, record)

    async def scene() -> None:
        async with service_lab(*DOMAINS) as lab:
            shelf = lab.service.registry.domains
            for name in NAMES:
                shelf.drop(domain_uuid(name))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Reconciler, "reconcile", reconcile)
                await lab.service.full_pass()
            assert {view.name for view in shelf.values()} == {"b", "c"}
            await lab.service.full_pass()
            assert lab.view("a").name == "a"

    run_async(scene())
    assert str(domain_uuid("a")) in caplog.text


@pytest.mark.parametrize("error", [LibvirtFailed("libvirt refused."), ValueError("a bug")])
def test_line_to_libvirt_is_tried_again_when_the_first_pass_fails(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = core.VirtcardService.full_pass, []

    async def full_pass(self: core.VirtcardService) -> None:
        calls.append(self.status().libvirt)
        if len(calls) == 1:
            raise error
        await real(self)

    monkeypatch.setattr(core.VirtcardService, "full_pass", full_pass)

    async def scene() -> None:
        async with service_lab(*DOMAINS) as lab:
            assert lab.view("a").state == "running"
            assert lab.service.status().libvirt == "connected"

    run_async(scene())
    assert calls == ["connected", "connected"]


def test_failed_slow_passes_do_not_end_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "RECONCILE_PERIOD", 0.01)
    errors: list[Exception] = [ValueError("a bug"), Disconnected("libvirt is away."), OSError("what?")]
    real = passes.Passes.full_pass

    async def scene() -> None:
        async with service_lab(*DOMAINS) as lab:

            async def full_pass(self: passes.Passes) -> None:
                if errors:
                    raise errors.pop()
                await real(self)

            monkeypatch.setattr(passes.Passes, "full_pass", full_pass)
            await lab.until(lambda: not errors, "all passes failed")
            lab.service.registry.domains.drop(domain_uuid("a"))
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("a")), "the next pass succeeds")

    run_async(scene())


def test_service_whose_pass_never_ends_does_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    real, gate = Reconciler.reconcile, asyncio.Event()

    async def reconcile(self: Reconciler, record: DomainRecord) -> None:
        await gate.wait()
        await real(self, record)

    async def scene() -> None:
        async with service_lab(*DOMAINS) as lab:
            monkeypatch.setattr(Reconciler, "reconcile", reconcile)
            one = asyncio.create_task(lab.service.full_pass())
            await asyncio.sleep(0.05)
            lives = [lab.service.lives]
            monkeypatch.setattr(passes, "PASS_PATIENCE", 0.01)
            lives.append(lab.service.lives)
            gate.set()
            await one
            assert [*lives, lab.service.lives] == [True, False, True]

    run_async(scene())


def test_change_without_an_event_is_seen_by_the_next_pass() -> None:
    async def scene() -> None:
        async with service_lab(DOMAINS[0]) as lab:
            lab.service.hearing.on_event = lambda event: None  # type: ignore[method-assign]
            await lab.define(DOMAINS[1])
            await lab.act("a", "destroy")
            await lab.act("a", "undefine")
            await lab.service.full_pass()
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("a")) is None, "a is gone")
            assert lab.view("b").state == "shut off"

    run_async(scene())


def test_pass_does_not_undo_a_call_that_came_between_its_reading_and_its_turn() -> None:
    """The records of a pass are old when somebody has had the domain's turn since they were read."""

    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(domain_xml("run", devices=XHCI + lab.reader("run")))
            peer = lab.peer("run")
            old = await lab.daemon.changes.read(domain_uuid("run"))
            lab.service._turns.forget_touched()
            await lab.act("run", "create")
            await lab.until(lambda: lab.bridge("run"), "it has a bridge")
            await lab.insert("run", "reader:one")
            await lab.service._passes.look(old.uuid, old)
            assert lab.view("run").state == "running"
            assert peer.connections == 1
            assert peer.atr is not None

    run_async(scene())


def test_service_that_ends_ejects_and_starts_nothing_more() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(domain_xml("run", devices=XHCI + lab.reader("run"), metadata=wish_metadata("reader:one")))
            peer = lab.peer("run")
            await lab.act("run", "create")
            await lab.inserted("run", peer)
            await lab.service.close()
            assert peer.atr is None
            lab.service.hearing.on_event(HypervisorEvent(EventKind.REBOOT, domain_uuid("run")))
            await asyncio.sleep(0.05)
            assert lab.bridge("run") is None
            await refused(lab.insert("run", "reader:one"), Disconnected)
            assert lab.bridge("run") is None

    run_async(scene())


def test_nothing_at_rest_is_left_waiting() -> None:
    async def scene() -> None:
        async with service_lab(*DOMAINS) as lab:
            before = len(asyncio.all_tasks())
            for name in NAMES:
                await lab.enable(name)
                await lab.disable(name)
            await lab.until(lambda: not lab.service._turns._due, "all events are worked off")
            await lab.until(lambda: len(asyncio.all_tasks()) == before, "no task is left")
            assert lab.service._turns.held == 0

    run_async(scene())


def test_a_pass_looks_at_so_many_domains_at_a_time_and_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real, now, most, seen = Reconciler.reconcile, 0, 0, set()

    async def reconcile(self: Reconciler, record: DomainRecord) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        await real(self, record)
        seen.add(record.name)
        now -= 1

    async def scene() -> None:
        async with service_lab(*(domain_xml(f"vm{number}") for number in range(8))) as lab:
            monkeypatch.setattr(passes, "PASS_LOOKS_MAX", 3)
            monkeypatch.setattr(Reconciler, "reconcile", reconcile)
            await lab.service.full_pass()

    run_async(scene())
    assert most == 3
    assert seen == {f"vm{number}" for number in range(8)}


def test_a_bridge_that_ended_by_a_fault_of_ours_is_replaced_and_has_its_card_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hearing, "BRIDGE_PAUSE", 0.2)

    def broken(worker: Worker, *_arguments: object) -> None:
        raise ValueError("a bug")

    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            before = peer.connections
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Worker, "_converse", broken)
                lab.source.card("one").report(CardEvent.INSERTED)
                await lab.until(lambda: lab.ended("run"), "the bridge has ended")
            await lab.until(lambda: peer.connections > before, "there is another bridge")
            await lab.inserted("run", peer)
            assert lab.source.card("one").on

    run_async(scene())


def test_a_card_that_was_opened_for_a_bridge_that_has_just_ended_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "BRIDGE_PAUSE", 60)

    def broken(worker: Worker, *_arguments: object) -> None:
        raise ValueError("a bug")

    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Worker, "_converse", broken)
                lab.service._reconciler.bridges.at((domain_uuid("run"), 0)).bridge.eject()
                await lab.until(lambda: lab.ended("run"), "the bridge has ended")
                patched.setattr(Running, "has_ended", False)
                error = await refused(lab.insert("run", "reader:one"), Failed)
            assert error.message == "No bridge runs to the virtual reader."
            assert lab.view("run").card == ""
            await lab.until(lambda: lab.source.card("one").calls == ["power_off"], "the card is let go")

    run_async(scene())


def test_a_bridge_that_ends_again_and_again_is_begun_anew_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "BRIDGE_PAUSE", 0.3)
    began: list[float] = []

    def broken(worker: Worker) -> None:
        began.append(time.monotonic())
        raise ValueError("a bug")

    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Worker, "_turn", broken)
                await lab.act("run", "destroy")
                await lab.act("run", "create")
                began.clear()
                await lab.until(lambda: len(began) >= 4, "it ended four times")
            assert began[-1] - began[0] > 0.6
            await lab.until(lambda: not lab.ended("run"), "there is a bridge that works")

    run_async(scene())


def test_a_bridge_for_which_the_host_has_no_descriptor_left_begins_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hearing, "BRIDGE_PAUSE", 0.2)

    def none_left(_wakeup: Wakeup) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.act("run", "destroy")
            await lab.until(lambda: lab.bridge("run") is None, "it is off")
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Wakeup, "__init__", none_left)
                await lab.act("run", "create")
                await lab.until(lambda: lab.view("run").last_error, "it is told")
                assert lab.view("run").last_error == "A bridge cannot begin: Too many open files."
                error = await refused(lab.insert("run", "reader:one"), Failed)
                assert error.message == "No bridge runs to the virtual reader."
                assert lab.bridge("run") is None
            await lab.until(lambda: lab.bridge("run"), "it has a bridge")
            await lab.until(lambda: not lab.view("run").last_error, "all is well")
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            assert has_card(peer)

    run_async(scene())
