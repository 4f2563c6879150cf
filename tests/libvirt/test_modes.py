"""libvirt judges the devices of every mode, and the service answers for readers that it does not serve."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest

from helpers.bus import run_async
from helpers.certutil import NAMES, make_nss_database
from helpers.domain_vectors import canonical, socket_of
from helpers.domains import XHCI, domain_uuid, domain_xml, qemu_xml
from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.services import OWNER, ServiceLab, refused, service_lab, wish_metadata
from virtcard.domain.host import QemuHost, look
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.model import parse_domain
from virtcard.domain.plan import plan_disable, plan_enable
from virtcard.domain.preflight import HostFacts, check
from virtcard.domain.render import Renderer
from virtcard.domain.setup import Mode, ReaderSetup, reader_setup
from virtcard.domain.state import VirtualReader, reader_state
from virtcard.errors import DomainStateError, InvalidArgument, PreflightFailed
from virtcard.limits import EMULATED_CARD_MAX
from virtcard.service.api import EnableOptions
from virtcard.service.views import Change
from virtcard.wire.vscard import UNDEFINED_READER_ID, Decoder, Init, MessageType, encode

RENDERER = Renderer(None)
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
SPICE_CARD = "<smartcard mode='passthrough' type='spicevmc'/>"
CERTIFICATES = ("one", "two & three", "four")
SETUPS = {
    "host": reader_setup("host"),
    "certificates": reader_setup("host-certificates", certificates=CERTIFICATES, database="/srv/nss"),
    "default-database": reader_setup("host-certificates", certificates=CERTIFICATES),
    "bind": reader_setup("tcp", port=7001),
    "connect": reader_setup("tcp", address="::1", port=7001, role="connect"),
    "tls": reader_setup("tcp", address="cards.example.org", port=7001, role="connect", tls=True),
    "spice": reader_setup("spice"),
}
ARGUMENTS = {
    "host": ['"driver":"ccid-card-emulated","backend":"nss-emulated"'],
    "certificates": ['"cert1":"one","cert2":"two & three","cert3":"four","db":"/srv/nss"'],
    "default-database": ['"backend":"certificates"', '"db":"/etc/pki/nssdb"'],
    "bind": ["host=127.0.0.1,port=7001,server=on,wait=off", '"driver":"ccid-card-passthru"'],
    "connect": ["host=::1,port=7001,reconnect=1"],
    "tls": ["host=cards.example.org,port=7001,reconnect=1,tls-creds=", "tls-creds-x509"],
    "spice": ["-chardev spicevmc,id=charsmartcard0,name=smartcard", '"driver":"ccid-card-passthru"'],
}


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[Libvirtd]:
    with private_libvirtd() as running:
        yield running


@pytest.fixture
def connection(libvirtd: Libvirtd) -> Iterator[libvirt.virConnect]:
    opened = libvirtd.open()
    yield opened
    opened.close()


def graphics(name: str) -> str:
    """What the domain of a setup needs beside its reader: without SPICE graphics libvirt takes no SPICE device."""
    return "<graphics type='spice'><listen type='none'/></graphics>" if SETUPS[name].mode is Mode.SPICE else ""


def enable(xml: str, setup: ReaderSetup) -> str:
    return plan_enable(xml, socket_of(xml), renderer=RENDERER, setup=setup).xml


def define(connection: libvirt.virConnect, xml: str, flags: int = libvirt.VIR_DOMAIN_DEFINE_VALIDATE) -> str:
    return str(connection.defineXMLFlags(xml, flags).XMLDesc(INACTIVE))


@pytest.mark.parametrize("name", SETUPS)
def test_libvirts_schema_takes_the_device(name: str, tmp_path: Path) -> None:
    (tmp_path / "vm.xml").write_text(enable(qemu_xml("judged"), SETUPS[name]))
    schema = "/usr/share/libvirt/schemas/domain.rng"
    subprocess.run(["xmllint", "--noout", "--relaxng", schema, tmp_path / "vm.xml"], check=True, capture_output=True)


@pytest.mark.parametrize("name", SETUPS)
def test_libvirt_keeps_the_device_and_a_disabled_domain_is_as_it_was(connection: libvirt.virConnect, name: str) -> None:
    before = define(connection, qemu_xml(name, devices=graphics(name)))
    enabled = define(connection, enable(before, SETUPS[name]))
    reader = parse_domain(enabled).reader
    assert reader is not None
    assert reader.device == SETUPS[name].device("")
    assert enable(enabled, SETUPS[name]) == enabled
    assert canonical(define(connection, plan_disable(enabled).xml)) == canonical(before)


@pytest.mark.parametrize("name", SETUPS)
def test_qemu_is_given_what_the_mode_says(connection: libvirt.virConnect, name: str) -> None:
    native = connection.domainXMLToNative(
        "qemu-argv", enable(qemu_xml("argv", devices=graphics(name)), SETUPS[name]), 0
    )
    assert '"driver":"usb-ccid","id":"ccid0"' in native
    assert all(argument in native for argument in ARGUMENTS[name])


@pytest.mark.parametrize("name", ["bind", "connect"])
def test_a_running_machine_still_shows_the_reader_as_ours(connection: libvirt.virConnect, name: str) -> None:
    domain = connection.defineXML(enable(qemu_xml("live"), SETUPS[name]))
    domain.create()
    try:
        assert parse_domain(domain.XMLDesc(0)).reader is not None
    finally:
        domain.destroy()
        domain.undefine()


def test_qemu_here_has_the_card_that_libcacard_makes(libvirtd: Libvirtd) -> None:
    hypervisor = Hypervisor(libvirtd.uri, lambda _: None)
    hypervisor.open()
    try:
        assert hypervisor.emulated_supported() is True
        assert hypervisor.spice_supported() is True
    finally:
        hypervisor.close()


def test_a_machine_starts_with_a_card_over_spice(libvirtd: Libvirtd, connection: libvirt.virConnect) -> None:
    place = libvirtd.directory / "spice.sock"
    boxes = f"<graphics type='spice'><listen type='socket' socket='{place}'/></graphics>{SPICE_CARD}"
    before = define(connection, define(connection, qemu_xml("spice", devices=boxes)))
    plan = plan_enable(before, socket_of(before), renderer=RENDERER, setup=SETUPS["spice"], on_existing="replace")
    domain = connection.defineXML(plan.xml)
    domain.create()
    try:
        assert state_of(domain) == (VirtualReader.PRESENT, "spice", True)
        chardevs = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-chardev"}', 0))["return"]
        kinds = {each["label"]: each["filename"] for each in chardevs}
        assert kinds["charsmartcard0"].startswith("spicevmc")
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.connect(str(place))
    finally:
        domain.destroy()
    after = define(connection, plan_disable(domain.XMLDesc(INACTIVE)).xml)
    domain.undefine()
    assert canonical(after) == canonical(before)
    assert [card.word for card in parse_domain(after).smartcards] == ["spicevmc"]


def test_qemu_aborts_with_two_spice_smart_cards_and_preflight_says_so(connection: libvirt.virConnect) -> None:
    namespace = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
    arguments = "".join(
        f"<qemu:arg value='{word}'/>"
        for word in ("-chardev", "spicevmc,id=second,name=smartcard", "-device", "usb-ccid,id=other,bus=usb.0",
                     "-device", "ccid-card-passthru,chardev=second,bus=other.0")
    )  # fmt: skip
    xml = enable(qemu_xml("two", devices=graphics("spice")), SETUPS["spice"])
    second = xml.replace("<domain ", f"<domain {namespace} ", 1).replace(
        "</domain>", f"<qemu:commandline>{arguments}</qemu:commandline></domain>"
    )
    found = check(parse_domain(second), HostFacts(""), setup=SETUPS["spice"])
    assert [finding.code for finding in found] == ["spice-smartcard-second"]
    domain = connection.defineXML(second)
    try:
        with pytest.raises(libvirt.libvirtError):
            domain.create()
    finally:
        domain.undefine()


def state_of(domain: libvirt.virDomain) -> tuple[VirtualReader, str, bool]:
    seen = reader_state(domain.XMLDesc(INACTIVE), domain.XMLDesc(0))
    return seen.reader, seen.mode, seen.in_live


async def _enable(lab: ServiceLab, name: str, setup: ReaderSetup, *, on_existing: str = "keep") -> Change:
    return await lab.service.enable(domain_uuid(name), EnableOptions(on_existing=on_existing, setup=setup), OWNER)


async def _seen(lab: ServiceLab, *names: str) -> None:
    for name in names:
        await lab.define(domain_xml(name, devices=XHCI))
        assert await lab.service.find_domain(name) == domain_uuid(name)


def test_the_service_enables_changes_the_mode_and_puts_back() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _seen(lab, "off")
            before = await lab.xml("off")
            assert (await _enable(lab, "off", SETUPS["bind"])).changed
            assert (lab.view("off").mode, lab.view("off").reader) == ("tcp", VirtualReader.PRESENT)
            assert not (await _enable(lab, "off", SETUPS["bind"])).changed
            assert await lab.service.check(domain_uuid("off")) == ()
            assert (await _enable(lab, "off", SETUPS["connect"])).changed
            assert (await _enable(lab, "off", reader_setup())).changed
            assert lab.view("off").mode == "bridge"
            await _enable(lab, "off", SETUPS["bind"])
            await lab.disable("off")
            assert lab.view("off").mode == ""
            assert canonical(await lab.xml("off")) == canonical(before)

    run_async(scene())


def test_a_domain_whose_card_comes_over_tcp_says_who_brings_it() -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _seen(lab, "off")
            await _enable(lab, "off", SETUPS["bind"])
            await lab.act("off", "create")
            await lab.settled()
            assert lab.view("off").live
            assert lab.bridge("off") is None
            for call in (lab.insert("off", "reader:one"), lab.insert("off", "reader:one", config=True)):
                error = await refused(call, DomainStateError)
                assert "comes over TCP" in error.message
                assert "virtcard connect tcp://127.0.0.1:7001 SOURCE" in error.hint
            await refused(lab.eject("off"), DomainStateError)
            await lab.eject("off", config=True)

    run_async(scene())


@pytest.mark.parametrize(
    ("setup", "hint"),
    [
        ("connect", "virtcard listen tcp://[::1]:7001 SOURCE"),
        ("tls", "virtcard listen tls://cards.example.org:7001 SOURCE"),
        ("host", "--mode bridge"),
        ("spice", "remote-viewer --spice-smartcard"),
    ],
)
def test_the_hint_says_what_to_do_instead_of_an_insert(setup: str, hint: str) -> None:
    async def scene() -> None:
        xml = domain_xml("off", devices=XHCI)
        async with service_lab() as lab:
            await lab.define(enable(xml, SETUPS[setup]))
            error = await refused(lab.insert("off", "reader:one"), DomainStateError)
            assert hint in error.hint

    run_async(scene())


def test_a_wish_on_a_domain_whose_card_is_elsewhere_is_noted_and_leaves_the_mode() -> None:
    async def scene() -> None:
        wishing = domain_xml("vm", devices=XHCI, metadata=wish_metadata("reader:one"))
        async with service_lab(enable(wishing, SETUPS["host"])) as lab:
            await lab.settled()
            assert (lab.view("vm").mode, lab.bridge("vm")) == ("host", None)
            assert "lives in QEMU (mode host)" in lab.view("vm").last_error
            assert lab.source.opened == []

    run_async(scene())


def test_preflight_of_the_service_looks_at_the_host(tmp_path: Path) -> None:
    async def scene() -> None:
        async with service_lab() as lab:
            await _seen(lab, "off", "other")
            before = await lab.xml("off")
            setup = reader_setup("host-certificates", certificates=CERTIFICATES, database=str(tmp_path))
            error = await refused(_enable(lab, "off", setup), PreflightFailed)
            assert f"no NSS database in {tmp_path}" in error.message
            await refused(_enable(lab, "off", reader_setup("tcp", address="192.0.2.1", port=7001)), PreflightFailed)
            assert (await _enable(lab, "other", SETUPS["bind"])).changed
            error = await refused(_enable(lab, "off", SETUPS["bind"]), PreflightFailed)
            assert "Port 7001 is used by other too" in error.message
            assert await lab.xml("off") == before
            insecure = reader_setup("tcp", address="192.0.2.1", port=7002, insecure=True)
            assert [finding.code for finding in (await _enable(lab, "off", insecure)).findings] == ["tcp-plain"]

    run_async(scene())


def test_words_that_do_not_fit_together_never_reach_the_service() -> None:
    with pytest.raises(InvalidArgument):
        EnableOptions(setup=reader_setup("bridge", port=7001))


@pytest.fixture
def tls(libvirtd: Libvirtd) -> Iterator[ssl.SSLContext]:
    """Certificates of QEMU's, named in libvirt's qemu.conf; the context of somebody who brings the card."""
    pki = libvirtd.directory / "pki"
    pki.mkdir()
    authority = ["-x509", "-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca-cert.pem"]
    _openssl(pki, "req", "-newkey", "rsa:2048", "-nodes", *authority)
    for side in ("server", "client"):
        _openssl(
            pki, "req", "-newkey", "rsa:2048", "-nodes", "-x509", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", f"{side}-key.pem", "-out", f"{side}-cert.pem",
        )  # fmt: skip
    conf = libvirtd.directory / "config/libvirt/qemu.conf"
    conf.write_text(f'chardev_tls_x509_cert_dir = "{pki}"\nchardev_tls_x509_verify = 1\n')
    libvirtd.kill()
    libvirtd.start()
    context = ssl.create_default_context(cafile=str(pki / "ca-cert.pem"))
    context.load_cert_chain(pki / "client-cert.pem", pki / "client-key.pem")
    yield context
    conf.unlink()
    libvirtd.kill()
    libvirtd.start()


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def test_libvirt_makes_qemu_listen_with_tls(libvirtd: Libvirtd, tls: ssl.SSLContext) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    setup = reader_setup("tcp", port=port, tls=True)
    assert look(setup, QemuHost("", libvirtd.directory / "config/libvirt/qemu.conf")).tls_missing == ()
    with closing(libvirtd.open()) as connection:
        domain = connection.defineXML(enable(qemu_xml("listens"), setup))
        domain.create()
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                tls.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                init = encode(MessageType.INIT, Init().encode(), UNDEFINED_READER_ID)
                secured.sendall(init)
                answer = secured.makefile("rb").read(len(init))
                assert [message.type for message in Decoder().feed(answer)] == [MessageType.INIT]
        finally:
            domain.destroy()
            domain.undefine()


def test_without_the_tls_files_the_domain_would_not_start_and_preflight_says_so(
    libvirtd: Libvirtd, connection: libvirt.virConnect
) -> None:
    conf = libvirtd.directory / "config/libvirt/qemu.conf"
    setup = reader_setup("tcp", port=7001, tls=True)
    missing = look(setup, QemuHost("", conf)).tls_missing
    domain = connection.defineXML(enable(qemu_xml("without"), setup))
    try:
        with pytest.raises(libvirt.libvirtError, match=re.escape(missing[0])):
            domain.create()
    finally:
        domain.undefine()


@pytest.mark.parametrize(("over", "starts"), [(0, True), (1, False)])
def test_qemu_aborts_at_the_byte_at_which_we_refuse(
    libvirtd: Libvirtd, connection: libvirt.virConnect, over: int, starts: bool
) -> None:
    room = EMULATED_CARD_MAX + over - len('db="" use_hw=no soft=(,Virtual Reader,CAC,,cert1,cert2,cert3)')
    database = make_nss_database(libvirtd.directory / ("x" * (room - len(str(libvirtd.directory)) - 1)))
    setup = reader_setup("host-certificates", certificates=NAMES, database=str(database))
    xml = enable(qemu_xml("long"), setup)
    assert (check(parse_domain(xml), HostFacts(""), setup=setup) == ()) is starts
    domain = connection.defineXML(xml)
    try:
        domain.create()
    except libvirt.libvirtError:
        assert not starts
    else:
        assert starts
        domain.destroy()
    finally:
        domain.undefine()


@pytest.mark.parametrize("database", [True, False])
def test_the_mode_host_starts_if_and_only_if_there_is_a_database(tmp_path: Path, database: bool) -> None:
    """In a namespace of its own, whose /etc is empty but for the database."""
    make_nss_database(tmp_path / "nssdb", ())
    place = "/etc/pki/nssdb" if database else "/etc/nowhere"
    script = f'mount -t tmpfs tmpfs /etc && mkdir -p "$(dirname {place})" && cp -r "$1" {place} && shift && exec "$@"'
    qemu = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    card = ["-device", "qemu-xhci", "-device", "usb-ccid", "-device", "ccid-card-emulated,backend=nss-emulated"]
    done = subprocess.run(
        ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c", script, "sh", tmp_path / "nssdb", *qemu, *card],
        input='{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n', check=False, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert ("SHUTDOWN" in done.stdout) is database, done
    assert ("failed to initialize vcard" in done.stderr) is not database, done
