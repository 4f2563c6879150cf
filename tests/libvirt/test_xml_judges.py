"""libvirt's own schema and its own reader judge the XML that we make."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from helpers.domain_vectors import NAMES, canonical, socket_of, vector
from virtcard.domain.metadata import read_wish, wish_element
from virtcard.domain.model import CcidAddress, parse_domain
from virtcard.domain.plan import Plan, plan_disable, plan_enable
from virtcard.domain.render import Renderer
from virtcard.domain.saved import Saved
from virtcard.names import METADATA_KEY, WISH_NAMESPACE

DOMAIN_SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
OUR_SCHEMA = Path(__file__).parents[2] / "xml" / "virtcard-metadata.rng"
RENDERER = Renderer(None)
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
VALID = [name for name in NAMES if name != "virt-install-host"]
"""virt-install writes `<smartcard mode='host' type='tcp'/>`, which libvirt takes and its schema does not."""


def xmllint(schema: Path, path: Path, text: str) -> str:
    """What xmllint has against the text, or ""."""
    path.write_bytes(text.encode())
    run = subprocess.run(["xmllint", "--noout", "--relaxng", schema, path], capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stderr


def for_test_driver(xml: str) -> str:
    """The domain as one of libvirt's test driver, which knows no machine types."""
    typed = re.sub(r"""type\s*=\s*(['"])(kvm|qemu)\1""", "type='test'", xml, count=1)
    return re.sub(r""" machine=(['"])[^'"]*\1""", "", typed, count=1)


def enable(xml: str) -> Plan:
    return plan_enable(xml, socket_of(xml), on_existing="replace", renderer=RENDERER)


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def define(connection: libvirt.virConnect, xml: str, flags: int = libvirt.VIR_DOMAIN_DEFINE_VALIDATE) -> str:
    """Define the domain and give back what libvirt made of it."""
    return str(connection.defineXMLFlags(xml, flags).XMLDesc(INACTIVE))


@pytest.mark.parametrize("name", VALID)
def test_an_enabled_domain_is_valid(name: str, tmp_path: Path) -> None:
    assert xmllint(DOMAIN_SCHEMA, tmp_path / "vm.xml", enable(vector(name)).xml) == ""


@pytest.mark.parametrize("name", VALID)
def test_a_disabled_domain_is_valid(name: str, tmp_path: Path) -> None:
    assert xmllint(DOMAIN_SCHEMA, tmp_path / "vm.xml", plan_disable(enable(vector(name)).xml).xml) == ""


def test_replacing_what_the_schema_refuses_makes_a_domain_valid(tmp_path: Path) -> None:
    text = vector("virt-install-host")
    assert "fails to validate" in xmllint(DOMAIN_SCHEMA, tmp_path / "vm.xml", text)
    assert xmllint(DOMAIN_SCHEMA, tmp_path / "vm.xml", enable(text).xml) == ""


@pytest.mark.parametrize(
    "what",
    [
        Saved(smartcard="<smartcard mode='passthrough' type='spicevmc'/>", absent=frozenset({"metadata"})),
        Saved(controller="<controller type='ccid' index='0'><address type='usb' bus='0' port='1'/></controller>"),
    ],
)
def test_our_memory_fits_our_schema(what: Saved, tmp_path: Path) -> None:
    assert xmllint(OUR_SCHEMA, tmp_path / "saved.xml", RENDERER.saved(what)) == ""


@pytest.mark.parametrize("name", NAMES)
def test_libvirt_keeps_the_reader_as_we_wrote_it(connection: libvirt.virConnect, name: str) -> None:
    xml = for_test_driver(vector(name))
    model = parse_domain(define(connection, enable(xml).xml))
    assert model.reader is not None
    assert model.reader.path == socket_of(xml)
    assert model.reader.address == CcidAddress(0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_libvirt_gives_back_needs_no_further_change(connection: libvirt.virConnect, name: str) -> None:
    defined = define(connection, enable(for_test_driver(vector(name))).xml)
    assert not enable(defined).changed


@pytest.mark.parametrize("name", NAMES)
def test_a_defined_domain_comes_back_as_it_was(connection: libvirt.virConnect, name: str) -> None:
    before = define(connection, for_test_driver(vector(name)), 0)
    enabled = define(connection, enable(before).xml)
    after = define(connection, plan_disable(enabled).xml, 0)
    assert enabled != before
    assert canonical(after) == canonical(before)


@pytest.mark.parametrize("name", NAMES)
def test_a_domain_enabled_before_its_first_define_comes_back_too(connection: libvirt.virConnect, name: str) -> None:
    text = for_test_driver(vector(name))
    plain = define(connection, text, 0)
    connection.lookupByUUIDString(str(parse_domain(text).uuid)).undefine()
    enabled = define(connection, enable(text).xml)
    assert canonical(define(connection, plan_disable(enabled).xml, 0)) == canonical(plain)


def test_libvirt_itself_adds_the_controller_of_a_card(connection: libvirt.virConnect) -> None:
    before = define(connection, for_test_driver(vector("gnome-boxes-new")))
    assert len(parse_domain(before).ccid_controllers) == 1


def test_a_clone_gets_its_own_socket(connection: libvirt.virConnect) -> None:
    enabled = define(connection, enable(for_test_driver(vector("gnome-boxes"))).xml)
    uuid = str(parse_domain(enabled).uuid)
    other = uuid[:-1] + "f"
    clone = enabled.replace(f"<uuid>{uuid}", f"<uuid>{other}").replace("<name>debian12", "<name>debian12-clone")
    mended = define(connection, enable(clone).xml)
    assert f"/{other}.sock" in mended
    assert uuid not in mended
    assert [card.word for card in parse_domain(plan_disable(mended).xml).smartcards] == ["spicevmc"]


def test_a_wish_that_libvirt_stored_is_read(connection: libvirt.virConnect) -> None:
    uuid = parse_domain(define(connection, for_test_driver(vector("cockpit")))).uuid
    domain = connection.lookupByUUIDString(str(uuid))
    element = wish_element("reader:Yubico & Co*", RENDERER)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, element, METADATA_KEY, WISH_NAMESPACE, 0)
    wish = read_wish(domain.XMLDesc(INACTIVE))
    assert wish is not None
    assert wish.card == "reader:Yubico & Co*"


def test_the_wish_that_virsh_stores_is_read_and_survives_enable_and_disable(tmp_path: Path) -> None:
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{for_test_driver(vector('gnome-boxes'))}</node>")
    script = (
        f"metadata debian12 --config --uri {WISH_NAMESPACE} --key virtcard --set \"<vm card='reader:Yubico*'/>\"; "
        "dumpxml debian12 --inactive --security-info"
    )
    run = subprocess.run(["virsh", "-c", f"test://{node}", script], capture_output=True, text=True, check=True)
    xml = run.stdout[run.stdout.index("<domain") :]
    wish = read_wish(plan_disable(enable(xml).xml).xml)
    assert wish is not None
    assert wish.card == "reader:Yubico*"
