"""The Hypervisor on real QEMUs, run by the QEMU driver inside a process of its own."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from helpers.domains import EHCI_ONLY, UHCI, domain_uuid, qemu_xml, reader_xml
from helpers.hypervisors import ApartLab, apart, embed_uri, peer_pid
from virtcard.domain.events import EventKind, Lifecycle, Resumed, Stopped
from virtcard.domain.peer import process_uuid, qemu_pid, verify_peer
from virtcard.domain.uri import parse_uri
from virtcard.errors import InvalidXml, LibvirtFailed, PeerError, Unsupported

VM = domain_uuid("vm")
NO_USB = "<controller type='usb' model='none'/>"


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A directory with a short name, since the paths of its sockets are bounded."""
    root = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def lab(root: Path) -> Iterator[ApartLab]:
    """One embedded QEMU driver for all, since its first look at QEMU takes seconds."""
    with apart(embed_uri(root)) as lab:
        yield lab


@pytest.fixture
def started(lab: ApartLab, root: Path) -> Iterator[Path]:
    """The domain "vm" with a virtual reader, running; gives the path of its socket."""
    path = root / "vm.sock"
    lab.forget()
    lab.call("define", qemu_xml("vm", devices=reader_xml(path)))
    lab.act(VM, "create")
    yield path
    lab.end(VM)


def test_qemu_has_the_devices(lab: ApartLab) -> None:
    assert lab.call("passthru_supported") is True


def test_asking_for_the_devices_defines_nothing(lab: ApartLab) -> None:
    before = lab.call("domain_uuids")
    lab.call("passthru_supported")
    assert lab.call("domain_uuids") == before


def test_start_resumes_before_it_is_started(lab: ApartLab, started: Path) -> None:
    lab.wait(EventKind.LIFECYCLE, VM, Lifecycle.STARTED)
    assert lab.heard(VM)[-2:] == [
        (EventKind.LIFECYCLE, Lifecycle.RESUMED, Resumed.UNPAUSED),
        (EventKind.LIFECYCLE, Lifecycle.STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED),
    ]


def test_live_xml_of_a_running_qemu_has_the_reader(lab: ApartLab, started: Path) -> None:
    record = lab.record(VM)
    assert (record.state, record.running) == ("running", True)
    assert record.live_xml is not None
    assert str(started) in record.live_xml
    assert "<alias name='smartcard0'/>" in record.live_xml
    assert "<alias" not in record.inactive_xml


def test_inactive_xml_can_be_defined_again_as_it_is(lab: ApartLab, started: Path) -> None:
    before = lab.record(VM).inactive_xml
    lab.call("define", before)
    assert lab.record(VM).inactive_xml == before


def test_peer_of_the_socket_is_the_qemu_of_the_pid_file(lab: ApartLab, root: Path, started: Path) -> None:
    pid_dir = parse_uri(embed_uri(root), {}).pid_dir
    pid = peer_pid(started)
    assert qemu_pid("vm", pid_dir) == pid
    assert process_uuid(pid) == VM
    verify_peer(pid, VM, "vm", pid_dir)
    verify_peer(pid, VM, "vm", None)
    with pytest.raises(PeerError):
        verify_peer(pid, domain_uuid("other"), "other", pid_dir)


def test_reset_sends_a_reboot_event(lab: ApartLab, started: Path) -> None:
    lab.act(VM, "reset", 0)
    lab.wait(EventKind.REBOOT, VM, 0)


def test_destroy_is_shutdown_and_stopped(lab: ApartLab, started: Path) -> None:
    lab.act(VM, "destroy")
    event = lab.wait(EventKind.LIFECYCLE, VM, Lifecycle.STOPPED)
    assert event.detail == Stopped.DESTROYED
    assert (EventKind.LIFECYCLE, Lifecycle.SHUTDOWN, 2) in lab.heard(VM)
    record = lab.record(VM)
    assert (record.state, record.id, record.live_xml) == ("shut off", -1, None)


def test_managed_save_is_in_the_record(lab: ApartLab, started: Path) -> None:
    lab.act(VM, "managedSave", 0)
    assert lab.wait(EventKind.LIFECYCLE, VM, Lifecycle.STOPPED).detail == Stopped.SAVED
    record = lab.record(VM)
    assert (record.state, record.managed_save) == ("shut off", True)
    lab.act(VM, "managedSaveRemove", 0)
    assert not lab.record(VM).managed_save


def test_reader_works_on_uhci_too(lab: ApartLab, root: Path) -> None:
    path = root / "uhci.sock"
    lab.call("define", qemu_xml("uhci", devices=reader_xml(path), usb=UHCI))
    lab.act(domain_uuid("uhci"), "create")
    assert process_uuid(peer_pid(path)) == domain_uuid("uhci")
    lab.end(domain_uuid("uhci"))


def test_ehci_alone_defines_and_fails_at_start_with_qemus_words(lab: ApartLab, root: Path) -> None:
    lab.call("define", qemu_xml("ehci", devices=reader_xml(root / "ehci.sock"), usb=EHCI_ONLY))
    with pytest.raises(LibvirtFailed, match="speed mismatch") as caught:
        lab.act(domain_uuid("ehci"), "create")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/nonexistent/x.sock", "No such file or directory"), (f"/tmp/{'x' * 108}", "too long")],
)
def test_bad_socket_path_defines_and_fails_at_start(lab: ApartLab, path: str, sentence: str) -> None:
    lab.call("define", qemu_xml("path", devices=reader_xml(path)))
    with pytest.raises(LibvirtFailed, match=sentence):
        lab.act(domain_uuid("path"), "create")


def test_usb_switched_off_is_unsupported(lab: ApartLab, root: Path) -> None:
    with pytest.raises(Unsupported, match="USB is disabled for this domain"):
        lab.call("define", qemu_xml("none", devices=reader_xml(root / "x.sock"), usb=NO_USB))


def test_second_card_is_unsupported(lab: ApartLab, root: Path) -> None:
    card = re.sub("<controller.*?/>", "", reader_xml(root / "y.sock")).replace("slot='0'", "slot='1'")
    with pytest.raises(Unsupported, match="multiple smartcard"):
        lab.call("define", qemu_xml("two", devices=reader_xml(root / "x.sock") + card))


def test_alias_in_the_smart_card_is_invalid(lab: ApartLab, root: Path) -> None:
    devices = reader_xml(root / "x.sock").replace("<address", "<alias name='ua-card'/><address")
    with pytest.raises(InvalidXml, match="schema"):
        lab.call("define", qemu_xml("alias", devices=devices))


def test_qemu_without_the_devices_is_told(root: Path, lab: ApartLab) -> None:
    """libvirt believes its cache about a QEMU, so one without `ccid-passthru` stands for a QEMU without the module."""
    lab.call("passthru_supported")
    bare = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp"))
    try:
        uri, cache = embed_uri(bare), bare / "cache/qemu/capabilities"
        shutil.copytree(root / "cache/qemu/capabilities", cache)
        for file in cache.glob("*.xml"):
            file.write_text(file.read_text().replace("<flag name='ccid-passthru'/>", ""))
        with apart(uri) as other:
            assert other.call("passthru_supported") is False
            with pytest.raises(Unsupported, match="lacks smartcard passthrough mode support") as caught:
                other.call("define", qemu_xml("vm", devices=reader_xml(bare / "x.sock")))
            assert "qemu-device-usb-smartcard" in caught.value.hint
    finally:
        shutil.rmtree(bare)
