"""The Hypervisor on libvirt's test driver: events, records, redefinition, metadata, clear errors."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from uuid import UUID

import libvirt
import pytest

from helpers.domains import domain_uuid, domain_xml, node_uri, reader_xml
from helpers.hypervisors import Events, Lab
from helpers.waiting import wait_until
from virtcard.domain import events
from virtcard.domain.events import EventKind, Lifecycle, Resumed, Stopped
from virtcard.domain.failure import FROM_RPC, ErrorCode
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.libvirt.loop import ensure_event_loop
from virtcard.domain.probe import schema_probe
from virtcard.errors import (
    Disconnected,
    DomainStateError,
    InvalidXml,
    LibvirtFailed,
    NoSuchDomain,
    VirtcardError,
)
from virtcard.names import METADATA_KEY, WISH_NAMESPACE

VM = domain_uuid("vm")
READER = reader_xml("/run/virtcard/vm/x.sock")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A Hypervisor on `test:///default`, which has one running domain named "test"."""
    lab = Lab("test:///default")
    yield lab
    lab.close()


@pytest.fixture
def vm(lab: Lab) -> Lab:
    """The same with a domain "vm" that is off."""
    lab.hypervisor.define(domain_xml("vm"))
    lab.events.wait(EventKind.LIFECYCLE, VM, Lifecycle.DEFINED)
    return lab


def test_define_start_stop_and_undefine_send_events(vm: Lab) -> None:
    vm.act(VM, "create")
    vm.act(VM, "suspend")
    vm.act(VM, "resume")
    vm.act(VM, "destroy")
    vm.hypervisor.define(domain_xml("vm", devices=READER))
    vm.act(VM, "undefine")
    vm.events.wait(EventKind.LIFECYCLE, VM, Lifecycle.UNDEFINED)
    assert vm.events.of(VM) == [
        (EventKind.LIFECYCLE, Lifecycle.DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_ADDED),
        (EventKind.LIFECYCLE, Lifecycle.STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED),
        (EventKind.LIFECYCLE, Lifecycle.SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED),
        (EventKind.LIFECYCLE, Lifecycle.RESUMED, Resumed.UNPAUSED),
        (EventKind.LIFECYCLE, Lifecycle.STOPPED, Stopped.DESTROYED),
        (EventKind.LIFECYCLE, Lifecycle.DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_UPDATED),
        (EventKind.LIFECYCLE, Lifecycle.UNDEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED_REMOVED),
    ]


def test_record_of_a_domain_that_is_off(vm: Lab) -> None:
    record = vm.hypervisor.record(VM)
    assert (record.uuid, record.name, record.id, record.state) == (VM, "vm", -1, "shut off")
    assert (record.running, record.persistent, record.managed_save, record.live_xml) == (False, True, False, None)
    assert "<name>vm</name>" in record.inactive_xml


def test_record_of_a_running_domain_has_both_xmls(vm: Lab) -> None:
    vm.act(VM, "create")
    vm.hypervisor.define(domain_xml("vm", devices=READER))
    record = vm.hypervisor.record(VM)
    assert record.running
    assert record.id > 0
    assert record.state == "running"
    assert "<smartcard" in record.inactive_xml
    assert record.live_xml is not None
    assert "<smartcard" not in record.live_xml


def test_record_knows_paused_and_managed_save(vm: Lab) -> None:
    vm.act(VM, "create")
    vm.act(VM, "suspend")
    assert vm.hypervisor.record(VM).state == "paused"
    vm.act(VM, "resume")
    vm.act(VM, "managedSave")
    vm.events.wait(EventKind.LIFECYCLE, VM, Lifecycle.STOPPED)
    record = vm.hypervisor.record(VM)
    assert (record.state, record.running, record.managed_save) == ("shut off", False, True)


def test_record_of_a_transient_domain_is_not_persistent(lab: Lab) -> None:
    lab.user.createXML(domain_xml("transient"), 0)
    record = lab.hypervisor.record(domain_uuid("transient"))
    assert (record.running, record.persistent) == (True, False)


def test_display_password_is_in_the_inactive_xml_alone(vm: Lab) -> None:
    vnc = "<graphics type='vnc' passwd='tops3cr3t'/>"
    vm.hypervisor.define(domain_xml("vm", devices=vnc))
    vm.act(VM, "create")
    record = vm.hypervisor.record(VM)
    assert "tops3cr3t" in record.inactive_xml
    assert record.live_xml is not None
    assert "tops3cr3t" not in record.live_xml
    assert "tops3cr3t" not in repr(record)


def test_unknown_domain_has_a_sentence(lab: Lab) -> None:
    unknown = UUID(int=7)
    with pytest.raises(NoSuchDomain, match=f"No domain has the UUID {unknown}"):
        lab.hypervisor.record(unknown)
    with pytest.raises(NoSuchDomain):
        lab.hypervisor.set_metadata(unknown, None, uri=WISH_NAMESPACE, key=METADATA_KEY, live=False, config=True)


def test_uuids_and_records_agree(vm: Lab) -> None:
    assert VM in vm.hypervisor.domain_uuids()
    assert sorted(record.uuid for record in vm.hypervisor.records()) == sorted(vm.hypervisor.domain_uuids())


def test_a_listing_is_read_a_few_at_a_time(lab: Lab) -> None:
    for number in range(5):
        lab.user.defineXML(domain_xml(f"few{number}"))
    listing = lab.hypervisor.listing()
    assert listing.uuids == set(lab.hypervisor.domain_uuids())
    found = [lab.hypervisor.read(listing, begin, 2) for begin in range(0, len(listing.domains), 2)]
    assert max(map(len, found)) == 2
    assert [record.uuid for part in found for record in part] == [each.uuid for each in lab.hypervisor.records()]


def test_a_domain_that_went_after_it_was_listed_is_left_out(lab: Lab) -> None:
    gone = lab.user.defineXML(domain_xml("gone"))
    listing = lab.hypervisor.listing()
    gone.undefine()
    assert domain_uuid("gone") in listing.uuids
    assert domain_uuid("gone") not in [record.uuid for record in lab.hypervisor.read(listing)]


def test_domains_that_vanish_meanwhile_are_left_out(lab: Lab) -> None:
    names = [f"brief{number}" for number in range(50)]
    for name in names:
        lab.user.defineXML(domain_xml(name))
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for name in names:
                lab.user.lookupByName(name).undefine()
                lab.user.defineXML(domain_xml(name))

    other = threading.Thread(target=churn)
    other.start()
    try:
        sizes = {len(lab.hypervisor.records()) for _ in range(300)}
    finally:
        stop.set()
        other.join()
    assert len(lab.hypervisor.records()) == len(names) + 1
    assert max(sizes) <= len(names) + 1


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        ("<domain", "not well-formed"),
        ("<foo/>", "expecting root element of 'domain'"),
        (domain_xml("new", devices="<smartcard mode='passthrough' type='unix'/><bogus/>"), "schema"),
        (domain_xml("new", devices=READER.replace("<address", "<alias name='ua-x'/><address")), "schema"),
        (domain_xml("vm", devices=READER.replace("<address", "<alias name='ua-x'/><address")), "schema"),
    ],
)
def test_bad_xml_is_refused_with_a_sentence(vm: Lab, xml: str, sentence: str) -> None:
    with pytest.raises(InvalidXml, match=sentence) as caught:
        vm.hypervisor.define(xml)
    assert "\n" not in str(caught.value)
    assert "ccid" not in vm.hypervisor.record(VM).inactive_xml


def test_password_near_a_mistake_is_in_no_traceback(vm: Lab) -> None:
    password = "-".join(["tops", "cret"])
    with pytest.raises(InvalidXml) as caught:
        vm.hypervisor.define(f"<domain>\n<graphics passwd='{password}' x>\n</domain>")
    assert password not in "".join(traceback.format_exception(caught.value))


def test_name_of_another_domain_is_refused(vm: Lab) -> None:
    with pytest.raises(LibvirtFailed, match="already exists with uuid"):
        vm.hypervisor.define(domain_xml("vm", uuid=UUID(int=9)))


def test_parts_of_the_user_that_never_followed_the_schema_are_let_through(vm: Lab) -> None:
    odd = "<input type='tablet' bus='usb' colour='red'/>"
    vm.hypervisor.define(domain_xml("vm", devices=odd + READER))
    assert "<smartcard" in vm.hypervisor.record(VM).inactive_xml


def test_new_domain_has_no_older_parts_to_let_through(lab: Lab) -> None:
    with pytest.raises(InvalidXml):
        lab.hypervisor.define(domain_xml("new", devices="<input type='tablet' bus='usb' colour='red'/>"))


def test_probe_of_the_schema_defines_nothing(lab: Lab) -> None:
    with pytest.raises(libvirt.libvirtError, match=r"(?i)vcpu") as caught:
        lab.user.defineXMLFlags(schema_probe(domain_xml("new", devices=READER)), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert caught.value.get_error_code() != ErrorCode.XML_INVALID_SCHEMA
    assert len(lab.hypervisor.domain_uuids()) == 1


def wish(lab: Lab, flags: int) -> str | None:
    """The wish in the metadata, as another libvirt user reads it."""
    try:
        return str(lab.act(VM, "metadata", libvirt.VIR_DOMAIN_METADATA_ELEMENT, WISH_NAMESPACE, flags))
    except VirtcardError:
        return None


def test_metadata_is_set_and_removed(vm: Lab) -> None:
    config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    card = "<vm card='card:alice'/>"
    vm.hypervisor.set_metadata(VM, card, uri=WISH_NAMESPACE, key=METADATA_KEY, live=False, config=True)
    assert "card:alice" in str(wish(vm, config))
    assert vm.events.wait(EventKind.METADATA, VM).namespace == WISH_NAMESPACE
    vm.hypervisor.set_metadata(VM, None, uri=WISH_NAMESPACE, key=METADATA_KEY, live=False, config=True)
    assert wish(vm, config) is None
    vm.hypervisor.set_metadata(VM, None, uri=WISH_NAMESPACE, key=METADATA_KEY, live=False, config=True)


def test_metadata_goes_to_the_live_and_the_inactive_xml(vm: Lab) -> None:
    vm.act(VM, "create")
    vm.hypervisor.set_metadata(VM, "<vm/>", uri=WISH_NAMESPACE, key=METADATA_KEY, live=True, config=True)
    record = vm.hypervisor.record(VM)
    assert record.live_xml is not None
    assert WISH_NAMESPACE in record.live_xml
    assert WISH_NAMESPACE in record.inactive_xml


def test_live_metadata_of_a_domain_that_is_off_is_a_state_error(vm: Lab) -> None:
    with pytest.raises(DomainStateError, match="not running"):
        vm.hypervisor.set_metadata(VM, "<vm/>", uri=WISH_NAMESPACE, key=METADATA_KEY, live=True, config=False)


def test_malformed_metadata_is_invalid(vm: Lab) -> None:
    with pytest.raises(InvalidXml):
        vm.hypervisor.set_metadata(VM, "<vm", uri=WISH_NAMESPACE, key=METADATA_KEY, live=False, config=True)


def test_test_driver_cannot_tell_about_qemus_devices(lab: Lab) -> None:
    assert lab.hypervisor.passthru_supported() is None


def test_closed_connection_is_disconnected(lab: Lab) -> None:
    lab.hypervisor.close()
    assert not lab.hypervisor.alive
    with pytest.raises(Disconnected):
        lab.hypervisor.records()
    with pytest.raises(Disconnected):
        lab.hypervisor.define(domain_xml("vm"))
    with pytest.raises(Disconnected):
        lab.hypervisor.passthru_supported()
    lab.hypervisor.close()


def test_lost_socket_of_the_daemon_is_not_our_lost_connection(lab: Lab) -> None:
    """A libvirtd without virtlogd hands on the very error that a client without libvirtd gets."""
    error = libvirt.libvirtError("virDomainCreate() failed")
    text = "Failed to connect socket to '/run/libvirt/virtlogd-sock': No such file or directory"
    error.err = (ErrorCode.SYSTEM_ERROR, FROM_RPC, text, 2, "%s", text, None, 2, -1)
    assert type(lab.hypervisor._error(error)) is LibvirtFailed
    lab.hypervisor.close()
    assert type(lab.hypervisor._error(error)) is Disconnected


def test_close_sends_no_event_and_open_comes_back(lab: Lab) -> None:
    lab.hypervisor.close()
    lab.hypervisor.open()
    assert lab.hypervisor.alive
    lab.hypervisor.define(domain_xml("vm"))
    lab.events.wait(EventKind.LIFECYCLE, VM, Lifecycle.DEFINED)
    assert lab.events.of(None) == []


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("qemu+unix:///system?socket=/nonexistent/libvirt-sock", Disconnected),
        ("test:///nonexistent.xml", VirtcardError),
    ],
)
def test_libvirt_that_cannot_be_opened_has_a_sentence(uri: str, kind: type[VirtcardError]) -> None:
    hypervisor = Hypervisor(uri, lambda _: None)
    with pytest.raises(kind, match="nonexistent"):
        hypervisor.open()
    assert not hypervisor.alive


def test_listener_that_fails_does_not_stop_the_events(caplog: pytest.LogCaptureFixture) -> None:
    heard = Events()

    def listen(event: events.HypervisorEvent) -> None:
        heard.hear(event)
        raise RuntimeError("listener")

    hypervisor = Hypervisor("test:///default", listen)
    hypervisor.open()
    for name in ("one", "two"):
        hypervisor.define(domain_xml(name))
        heard.wait(EventKind.LIFECYCLE, domain_uuid(name), Lifecycle.DEFINED)
    wait_until(lambda: len(caplog.records) >= 2, 10, "two log records")
    hypervisor.close()


def test_node_file_has_its_own_domains(tmp_path: Path) -> None:
    hypervisor = Hypervisor(node_uri(tmp_path / "node.xml", ["a", "b"], running=True), lambda _: None)
    hypervisor.open()
    assert {(record.name, record.state) for record in hypervisor.records()} == {("a", "running"), ("b", "running")}
    hypervisor.close()


def test_thousand_domains_are_read_well_below_a_second(tmp_path: Path) -> None:
    names = [f"vm{number}" for number in range(1000)]
    hypervisor = Hypervisor(node_uri(tmp_path / "node.xml", names, running=True), lambda _: None)
    hypervisor.open()
    began = time.perf_counter()
    records = hypervisor.records()
    took = time.perf_counter() - began
    hypervisor.close()
    assert {record.uuid for record in records} == {domain_uuid(name) for name in names}
    assert took < 0.5


def test_event_loop_starts_once() -> None:
    ensure_event_loop()
    ensure_event_loop()
    assert [thread.name for thread in threading.enumerate()].count("libvirt-events") == 1


@pytest.mark.parametrize("ending", ["", "hypervisor.close()", "raise SystemExit(0)"])
def test_interpreter_ends_with_the_event_loop_running(ending: str) -> None:
    program = (
        "from virtcard.domain.libvirt import Hypervisor\n"
        "hypervisor = Hypervisor('test:///default', print)\nhypervisor.open()\n" + ending
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 0


def numbers(prefix: str, enum: type[IntEnum]) -> dict[str, int]:
    """libvirt's own numbers for the members of an enum."""
    return {member.name: getattr(libvirt, prefix + member.name) for member in enum}


@pytest.mark.parametrize(
    ("prefix", "enum"),
    [
        ("VIR_DOMAIN_EVENT_", Lifecycle),
        ("VIR_DOMAIN_EVENT_RESUMED_", Resumed),
        ("VIR_DOMAIN_EVENT_STOPPED_", Stopped),
        ("VIR_ERR_", ErrorCode),
    ],
)
def test_numbers_are_libvirts(prefix: str, enum: type[IntEnum]) -> None:
    assert {member.name: int(member) for member in enum} == numbers(prefix, enum)
    assert libvirt.VIR_FROM_RPC == FROM_RPC
