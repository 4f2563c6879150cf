"""libvirt's QEMU driver, which adds addresses, controllers and hubs of its own, judges the XML that we make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import libvirt
import pytest

from helpers.domain_vectors import NAMES, canonical, socket_of, vector
from helpers.domains import EHCI_ONLY, UHCI, XHCI, qemu_xml
from helpers.libvirtd import Libvirtd, private_libvirtd
from virtcard.domain.model import parse_domain
from virtcard.domain.plan import Plan, plan_disable, plan_enable
from virtcard.domain.preflight import HostFacts, check
from virtcard.domain.render import Renderer
from virtcard.domain.state import ReaderState, VirtualReader, reader_state
from virtcard.names import socket_name

RENDERER = Renderer(None)
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[Libvirtd]:
    with private_libvirtd() as running:
        yield running


@pytest.fixture
def connection(libvirtd: Libvirtd) -> Iterator[libvirt.virConnect]:
    opened = libvirtd.open()
    yield opened
    opened.close()


def for_this_machine(xml: str) -> str:
    """The domain without what a machine needs hardware or more software for: KVM, a TPM emulator, a GPU."""
    typed = re.sub(r"""type\s*=\s*(['"])(kvm|qemu)\1""", "type='qemu'", xml, count=1)
    plain = re.sub(r"<tpm>.*?</tpm>|<gl [^>]*/>|<acceleration [^>]*/>", "", typed, flags=re.DOTALL)
    return plain.replace("<type>", "<type arch='x86_64'>").replace("host-passthrough", "host-model")


def enable(xml: str) -> Plan:
    return plan_enable(xml, socket_of(xml), on_existing="replace", renderer=RENDERER)


def define(connection: libvirt.virConnect, xml: str, flags: int = libvirt.VIR_DOMAIN_DEFINE_VALIDATE) -> str:
    return str(connection.defineXMLFlags(xml, flags).XMLDesc(INACTIVE))


@pytest.mark.parametrize("name", NAMES)
def test_a_domain_comes_back_as_it_was(connection: libvirt.virConnect, name: str) -> None:
    settled = define(connection, define(connection, for_this_machine(vector(name)), 0), 0)
    enabled = define(connection, enable(settled).xml)
    after = define(connection, plan_disable(enabled).xml, 0)
    assert parse_domain(enabled).reader is not None
    assert not enable(enabled).changed
    assert canonical(after) == canonical(settled)


def test_the_reader_gets_a_usb_port_of_its_own(connection: libvirt.virConnect) -> None:
    (controller,) = parse_domain(define(connection, enable(qemu_xml("port")).xml)).ccid_controllers
    assert controller.bus == 0


@pytest.mark.parametrize("usb", [XHCI, UHCI, ""])
def test_qemu_is_given_the_passthru_card_on_our_socket(connection: libvirt.virConnect, usb: str) -> None:
    xml = enable(qemu_xml("argv", usb=usb)).xml
    arguments = connection.domainXMLToNative("qemu-argv", xml, 0)
    assert '"driver":"usb-ccid","id":"ccid0"' in arguments
    assert '"driver":"ccid-card-passthru","chardev":"charsmartcard0","id":"smartcard0","bus":"ccid0.0"' in arguments
    assert f"path={socket_of(xml)},server=on,wait=off" in arguments


def tablets(count: int) -> str:
    places = (f"<address type='usb' bus='0' port='{number + 1}'/>" for number in range(count))
    return "".join(f"<input type='tablet' bus='usb'>{place}</input>" for place in places)


@pytest.mark.parametrize(
    ("model", "ports"),
    [
        ("piix3-uhci", 2),
        ("piix4-uhci", 2),
        ("pci-ohci", 3),
        ("ehci", 6),
        ("ich9-ehci1", 6),
        ("nec-xhci", 4),
        ("qemu-xhci", 4),
    ],
)
def test_libvirt_counts_the_ports_of_a_usb_controller_as_we_do(
    connection: libvirt.virConnect, model: str, ports: int
) -> None:
    controller = f"<controller type='usb' index='0' model='{model}'/>"
    for taken, refused in ((ports - 1, False), (ports, True)):
        xml = qemu_xml(f"{model}-{taken}", devices=tablets(taken), usb=controller)
        found = [finding.code for finding in check(parse_domain(xml), HostFacts(socket_of(xml)))]
        assert ("usb-full" in found) is refused
        assert defines(connection, enable(xml).xml) is not refused


def test_libvirt_refuses_a_reader_without_usb_as_we_do(connection: libvirt.virConnect) -> None:
    xml = qemu_xml("no-usb", usb="<controller type='usb' model='none'/>")
    assert [finding.code for finding in check(parse_domain(xml), HostFacts(socket_of(xml)))] == ["usb-none"]
    assert not defines(connection, enable(xml).xml)


def test_libvirt_lets_a_reader_on_ehci_be_defined_and_we_do_not(connection: libvirt.virConnect) -> None:
    xml = qemu_xml("ehci", usb=EHCI_ONLY + XHCI.replace("index='0'", "index='1'"))
    (controller,) = parse_domain(define(connection, enable(xml).xml)).ccid_controllers
    assert controller.bus == 0
    assert [finding.code for finding in check(parse_domain(xml), HostFacts(socket_of(xml)))] == ["usb-ehci-only"]


def test_libvirt_refuses_a_second_card_as_we_do(connection: libvirt.virConnect) -> None:
    cards = "<smartcard mode='host'/><smartcard mode='host'/>"
    xml = qemu_xml("two", devices=cards)
    assert [finding.code for finding in enable(xml).findings] == ["smartcard-second"]
    assert not defines(connection, xml)


def defines(connection: libvirt.virConnect, xml: str) -> bool:
    try:
        connection.defineXMLFlags(xml, 0)
    except libvirt.libvirtError:
        return False
    return True


def test_a_change_is_pending_until_the_domain_is_powered_off(
    connection: libvirt.virConnect, libvirtd: Libvirtd
) -> None:
    sockets = libvirtd.directory / "virtcard"
    sockets.mkdir()
    domain = connection.defineXML(qemu_xml("pending"))
    path = sockets / socket_name(UUID(domain.UUIDString()))

    domain.create()
    connection.defineXML(plan_enable(domain.XMLDesc(INACTIVE), str(path), renderer=RENDERER).xml)
    assert (state(domain).reader, state(domain).in_live) == (VirtualReader.PENDING_POWER_CYCLE, False)
    assert not path.is_socket()

    domain.destroy()
    domain.create()
    assert (state(domain).reader, state(domain).in_live) == (VirtualReader.PRESENT, True)
    assert path.is_socket()

    connection.defineXML(plan_disable(domain.XMLDesc(INACTIVE)).xml)
    assert (state(domain).reader, state(domain).in_live) == (VirtualReader.PENDING_POWER_CYCLE, True)

    domain.destroy()
    assert state(domain).reader is VirtualReader.ABSENT


def test_a_change_beside_a_saved_state_is_pending_until_that_is_dropped(connection: libvirt.virConnect) -> None:
    domain = connection.defineXML(qemu_xml("saved"))
    domain.create()
    domain.managedSave(0)
    connection.defineXML(enable(domain.XMLDesc(INACTIVE)).xml)
    assert state(domain).reader is VirtualReader.PENDING_POWER_CYCLE
    domain.managedSaveRemove(0)
    assert state(domain).reader is VirtualReader.PRESENT


def state(domain: libvirt.virDomain) -> ReaderState:
    live = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE) if domain.isActive() else None
    return reader_state(domain.XMLDesc(INACTIVE), live, managed_save=bool(domain.hasManagedSaveImage()))
