"""The configuration of domains: enabled, disabled, cloned, fought over, renamed and undefined."""

from __future__ import annotations

from xml.etree.ElementTree import canonicalize

import libvirt
import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.services import OWNER, ServiceLab, refused, service_lab, wish_metadata, wish_xml
from virtcard.domain.budget import RedefineBudget
from virtcard.domain.state import VirtualReader
from virtcard.errors import Conflict, DomainStateError, InvalidArgument, NoSuchDomain, PreflightFailed, VirtcardError
from virtcard.limits import REDEFINES_PER_MINUTE
from virtcard.service.api import EnableOptions

SPICE = "<graphics type='spice'/><smartcard mode='passthrough' type='spicevmc'/>"
VM = domain_xml("vm", devices=XHCI)
WISHING = domain_xml("vm", devices=XHCI, metadata=wish_metadata("reader:one"))


async def _canonical(lab: ServiceLab, name: str) -> str:
    return canonicalize(await lab.xml(name), strip_text=True)


async def _off(lab: ServiceLab, xml: str) -> None:
    """Another user defines this domain, and it is seen."""
    uuid = domain_uuid("off")
    await lab.define(xml)
    await lab.until(lambda: lab.service.registry.domains.get(uuid) is not None, "the domain is seen")


@pytest.mark.parametrize("devices", [XHCI, XHCI + "<controller type='ccid' index='0'/>", XHCI + SPICE, ""])
def test_enable_and_disable_leave_the_configuration_as_it_was(devices: str) -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=devices))
            before = await _canonical(lab, "off")
            change = await lab.enable("off", "replace")
            assert change.changed
            assert not change.pending
            assert lab.view("off").reader is VirtualReader.PRESENT
            assert not (await lab.enable("off", "replace")).changed
            assert (await lab.disable("off")).changed
            assert await _canonical(lab, "off") == before
            assert not (await lab.disable("off")).changed

    run_async(scene())


def test_existing_card_is_kept_replaced_or_in_the_way() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=XHCI + SPICE))
            before = await _canonical(lab, "off")
            change = await lab.enable("off", "keep")
            assert not change.changed
            assert [finding.code for finding in change.findings] == ["smartcard-existing"]
            await refused(lab.enable("off", "fail"), PreflightFailed)
            assert await _canonical(lab, "off") == before
            assert lab.view("off").reader is VirtualReader.FOREIGN
            await lab.enable("off", "replace")
            assert "type='spicevmc'" not in (await lab.xml("off")).split("<devices>")[1]
            await refused(lab.enable("off", "sometimes"), InvalidArgument)

    run_async(scene())


def test_dry_run_tells_the_change_and_makes_none() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=XHCI))
            before = await lab.xml("off")
            change = await lab.service.enable(domain_uuid("off"), EnableOptions(dry_run=True), OWNER)
            assert change.changed
            assert "+" in change.diff
            assert await lab.xml("off") == before
            await lab.enable("off")
            enabled = await lab.xml("off")
            assert (await lab.service.disable(domain_uuid("off"), EnableOptions(dry_run=True))).changed
            assert await lab.xml("off") == enabled

    run_async(scene())


def test_disable_ejects_and_removes_the_wish() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(domain_xml("run", devices=XHCI + lab.reader("run"), metadata=wish_metadata("reader:one")))
            peer = lab.peer("run")
            await lab.act("run", "create")
            await lab.inserted("run", peer)
            change = await lab.disable("run")
            assert change.pending
            await lab.empty("run", peer)
            view = lab.view("run")
            assert (view.wish, view.card, view.enabled, view.live) == ("", "", False, True)
            assert view.reader is VirtualReader.PENDING_POWER_CYCLE
            assert "virtcard" not in await lab.xml("run")
            await lab.settled()
            assert not lab.view("run").enabled

    run_async(scene())


def test_disable_of_a_domain_without_reader_changes_nothing() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=XHCI))
            before = await lab.xml("off")
            change = await lab.disable("off")
            assert (change.changed, change.diff, change.pending) == (False, "", False)
            assert await lab.xml("off") == before

    run_async(scene())


def test_clone_gets_a_socket_of_its_own_once() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=XHCI))
            await lab.enable("off")
            original = await lab.xml("off")
            twin = domain_uuid("twin")
            clone = original.replace("<name>off", "<name>twin").replace(
                f"<uuid>{domain_uuid('off')}", f"<uuid>{twin}", 1
            )
            await lab.define(clone)
            await lab.until(lambda: lab.service.registry.domains.get(twin) is not None, "the clone is seen")
            await lab.until(lambda: lab.view("twin").enabled, "the clone has a reader of its own")
            mended = await lab.xml("twin")
            assert str(lab.socket("twin")) in mended
            assert str(lab.socket("off")) not in mended
            budget = lab.daemon.changes.budget
            for _ in range(3):
                await lab.settled()
            assert len(budget._spent[twin]) == 1
            assert await lab.xml("twin") == mended
            assert await lab.xml("off") == original

    run_async(scene())


def test_somebody_who_keeps_removing_the_reader_gets_the_last_word() -> None:
    async def scene() -> None:
        now = 0.0
        async with service_lab() as lab:
            lab.daemon.changes.budget = RedefineBudget(lambda: now)
            plain = domain_xml("off", devices=XHCI, metadata=wish_metadata("reader:one"))
            for _ in range(REDEFINES_PER_MINUTE):
                await lab.define(plain)
                await lab.settled()
                assert lab.view("off").enabled
            await lab.define(plain)
            await lab.settled()
            view = lab.view("off")
            assert view.reader is VirtualReader.CONFLICT
            assert "too often in a minute" in view.last_error
            assert not view.enabled
            await lab.settled()
            assert lab.view("off").reader is VirtualReader.CONFLICT
            now = 61.0
            await lab.settled()
            view = lab.view("off")
            assert (view.reader, view.last_error, view.enabled) == (VirtualReader.PRESENT, "", True)

    run_async(scene())


def test_conflict_ends_when_the_wish_goes_or_a_person_asks() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            lab.daemon.changes.budget = RedefineBudget(lambda: 0.0, limit=0)
            await _off(lab, domain_xml("off", devices=XHCI, metadata=wish_metadata("reader:one")))
            assert lab.view("off").reader is VirtualReader.CONFLICT
            await refused(lab.enable("off"), Conflict)
            await lab.wish("off", None)
            await lab.until(lambda: lab.view("off").reader is VirtualReader.ABSENT, "the conflict is over")
            lab.daemon.changes.budget = budget = RedefineBudget(lambda: 0.0, limit=1)
            assert budget.spend(domain_uuid("off"))
            assert (await lab.enable("off")).changed

    run_async(scene())


def test_transient_domain_is_refused_with_the_way_out() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.user(lambda connection: connection.createXML(domain_xml("gone", devices=XHCI)))
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("gone")), "it is seen")
            assert not lab.view("gone").persistent
            for call in (lab.enable("gone"), lab.disable("gone")):
                assert "inject-xml" in (await refused(call, VirtcardError)).hint
            await lab.wish("gone", wish_xml("reader:one"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            await lab.settled()
            assert not await lab.act("gone", "isPersistent")

    run_async(scene())


def test_a_wish_for_a_transient_machine_is_refused_before_its_card_goes_in() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.user(
                lambda connection: connection.createXML(domain_xml("gone", devices=XHCI + lab.reader("gone")))
            )
            peer = lab.peer("gone")
            await lab.until(lambda: lab.bridge("gone"), "it has a bridge")
            for call in (lab.insert("gone", "reader:one", config=True), lab.eject("gone", config=True)):
                assert "is transient" in (await refused(call, DomainStateError)).message
            assert (lab.insertion("gone"), peer.atr) == (None, None)
            await lab.insert("gone", "reader:one")
            await lab.inserted("gone", peer)

    run_async(scene())


def test_managed_save_image_makes_the_change_wait() -> None:
    async def scene() -> None:
        async with service_lab(VM) as lab:
            await lab.act("vm", "managedSave")
            await lab.until(lambda: lab.view("vm").state == "shut off", "it is saved")
            assert (await lab.enable("vm")).pending
            assert lab.view("vm").reader is VirtualReader.PENDING_POWER_CYCLE
            await lab.act("vm", "managedSaveRemove")
            await lab.settled()
            assert lab.view("vm").reader is VirtualReader.PRESENT

    run_async(scene())


def test_undefined_domain_keeps_its_card_until_it_stops() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await lab.define(domain_xml("run", devices=XHCI + lab.reader("run")))
            peer = lab.peer("run")
            await lab.act("run", "create")
            await lab.until(lambda: lab.bridge("run"), "it has a bridge")
            await lab.insert("run", "reader:one")
            await lab.act("run", "undefine")
            await lab.until(lambda: not lab.view("run").persistent, "it is transient")
            await lab.settled()
            await lab.inserted("run", peer)
            await lab.act("run", "destroy")
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("run")) is None, "it is gone")
            assert lab.bridge("run") is None
            assert lab.service._reconciler.insertions.get(domain_uuid("run")) is None
            assert lab.daemon.changes.users == {}
            await lab.until(lambda: lab.source.card("one").calls[-1] == "power_off", "the card is let go")

    run_async(scene())


def test_renamed_domain_is_found_by_its_new_name() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=XHCI))
            await lab.enable("off")
            await lab.act("off", "rename", "new")
            await lab.until(lambda: lab.view("off").name == "new", "the new name is shown")
            assert await lab.service.find_domain("new") == domain_uuid("off")
            await refused(lab.service.find_domain("off"), NoSuchDomain)
            assert lab.view("off").reader is VirtualReader.PRESENT

    run_async(scene())


def test_socket_path_is_remembered_as_long_as_its_domain_is_there() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _off(lab, domain_xml("off", devices=XHCI))
            device = "<smartcard mode='passthrough' type='unix'><source mode='bind' path='{}'/></smartcard>"
            other = f"/run/mine/{lab.socket('off').name}"
            await lab.define(domain_xml("other", devices=XHCI + device.format(other)))
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("other")), "it is seen")
            assert lab.view("other").reader is VirtualReader.FOREIGN
            assert lab.daemon.changes.users == {other: {domain_uuid("other"): "other"}}
            await lab.act("other", "undefine")
            await lab.until(lambda: not lab.daemon.changes.users, "its path is free again")

    run_async(scene())


def test_domain_is_found_by_id_before_uuid_before_name() -> None:
    async def scene() -> None:
        async with service_lab(VM) as lab:
            number = lab.view("vm").id
            assert number >= 1
            named_like_it = domain_xml(str(number), devices=XHCI)
            await lab.define(named_like_it)
            assert await lab.service.find_domain(str(number)) == domain_uuid("vm")
            for text in (str(domain_uuid("vm")), str(domain_uuid("vm")).upper(), domain_uuid("vm").hex, "vm"):
                assert await lab.service.find_domain(text) == domain_uuid("vm")
            await lab.define(domain_xml("777", devices=XHCI))
            assert await lab.service.find_domain("777") == domain_uuid("777")
            for unknown in ("", "-1", "nobody", "9" * 5000, "²"):
                await refused(lab.service.find_domain(unknown), NoSuchDomain)

    run_async(scene())


def test_unknown_domain_is_refused_everywhere() -> None:
    async def scene() -> None:
        async with service_lab(VM) as lab:
            for call in (
                lab.enable("nobody"),
                lab.disable("nobody"),
                lab.insert("nobody", "reader:one"),
                lab.eject("nobody"),
                lab.service.check(domain_uuid("nobody")),
            ):
                await refused(call, NoSuchDomain)
            assert lab.service._turns.held == 0

    run_async(scene())
