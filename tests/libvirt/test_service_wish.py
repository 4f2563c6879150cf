"""The wish in a domain's metadata, and what becomes of it."""

from __future__ import annotations

import libvirt
import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.services import ServiceLab, service_lab, wish_metadata, wish_xml
from virtcard.domain.state import VirtualReader

VM = domain_xml("vm", devices=XHCI)
WISHING = domain_xml("vm", devices=XHCI, metadata=wish_metadata("reader:one"))
DENY = '[[rule]]\naction = "deny"\n'
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


def test_wish_gives_the_reader_and_the_start_inserts_the_card() -> None:
    async def scene() -> None:
        async with service_lab(VM) as lab:
            await lab.act("vm", "destroy")
            await lab.until(lambda: lab.view("vm").state == "shut off", "it is off")
            await lab.wish("vm", wish_xml("reader:one"))
            await lab.until(lambda: lab.view("vm").enabled, "the reader is in the configuration")
            assert str(lab.socket("vm")) in await lab.xml("vm")
            peer = lab.peer("vm")
            await lab.act("vm", "create")
            await lab.inserted("vm", peer)
            assert (lab.view("vm").wish, lab.view("vm").card, lab.view("vm").last_error) == (
                "reader:one",
                "reader:one",
                "",
            )

    run_async(scene())


def test_wish_for_a_running_domain_waits_for_its_power_cycle() -> None:
    async def scene() -> None:
        async with service_lab(VM) as lab:
            await lab.wish("vm", wish_xml("reader:one"))
            await lab.until(lambda: lab.view("vm").enabled, "the reader is in the configuration")
            assert lab.view("vm").reader is VirtualReader.PENDING_POWER_CYCLE
            assert lab.bridge("vm") is None

    run_async(scene())


async def _running_with_reader(lab: ServiceLab, metadata: str = "") -> None:
    await lab.define(domain_xml("run", devices=XHCI + lab.reader("run"), metadata=metadata))
    await lab.act("run", "create")
    await lab.until(lambda: lab.bridge("run") is not None, "it has a bridge")


def test_wish_is_followed_while_the_domain_runs() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _running_with_reader(lab)
            peer = lab.peer("run")
            await lab.empty("run", peer)
            await lab.wish("run", wish_xml("reader:one"), LIVE)
            await lab.inserted("run", peer)
            await lab.wish("run", None, LIVE)
            await lab.empty("run", peer)

    run_async(scene())


def test_running_machines_wish_beats_that_of_the_configuration() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _running_with_reader(lab, wish_metadata("reader:one"))
            peer = lab.peer("run")
            await lab.inserted("run", peer)
            await lab.wish("run", wish_xml("reader:two"), LIVE)
            await lab.until(lambda: lab.view("run").card == "reader:two", "the live wish is followed")
            await lab.wish("run", wish_xml("reader:zero"))
            await lab.settled()
            assert lab.view("run").card == "reader:two"

    run_async(scene())


def test_wish_is_no_permission() -> None:
    async def scene() -> None:
        async with service_lab(session=False, policy=DENY) as lab:
            await _running_with_reader(lab, wish_metadata("reader:one"))
            peer = lab.peer("run")
            await lab.empty("run", peer)
            assert lab.view("run").last_error == "The policy does not let run have reader:one."
            assert lab.source.card("one").on is False

    run_async(scene())


def test_wish_on_the_system_instance_is_followed_when_a_rule_allows_it() -> None:
    async def scene() -> None:
        async with service_lab(session=False, policy='[[rule]]\nvm = "run"\naction = "allow"\n') as lab:
            await _running_with_reader(lab, wish_metadata("reader:one"))
            await lab.inserted("run", lab.peer("run"))

    run_async(scene())


@pytest.mark.parametrize("wish", ["nonsense", "reader:", "card:../../etc/passwd"])
def test_bad_wish_is_told_and_nothing_else(wish: str) -> None:
    async def scene() -> None:
        async with service_lab(domain_xml("vm", devices=XHCI, metadata=wish_metadata(wish))) as lab:
            before = await lab.xml("vm")
            view = lab.view("vm")
            assert "card" in view.last_error
            assert view.last_error.count(wish) == 1
            assert (view.enabled, view.wish, view.card) == (False, "", "")
            await lab.settled()
            assert await lab.xml("vm") == before

    run_async(scene())


def test_wish_for_a_reader_that_is_not_there_is_told_and_tried_again_when_readers_change() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            card = lab.source.cards.pop("one")
            await _running_with_reader(lab, wish_metadata("reader:one"))
            peer = lab.peer("run")
            await lab.empty("run", peer)
            await lab.until(lambda: "No reader matches" in lab.view("run").last_error, "the error is told")
            lab.source.cards["one"] = card
            lab.service.hearing.on_readers()
            await lab.inserted("run", peer)
            assert lab.view("run").last_error == ""

    run_async(scene())


def test_domain_whose_xml_cannot_be_read_is_shown_with_the_reason() -> None:
    async def scene() -> None:
        async with service_lab(WISHING) as lab:
            read = await lab.daemon.changes.read(domain_uuid("vm"))
            broken = type(read)(
                read.uuid, read.name, read.id, read.state, read.running, read.persistent, read.managed_save, "<", None
            )
            await lab.service._reconciler.reconcile(broken)
            assert "not well-formed" in lab.view("vm").last_error
            assert not lab.view("vm").enabled

    run_async(scene())
