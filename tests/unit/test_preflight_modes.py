"""What keeps a reader of another mode than bridge from working is found before anything is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from virtcard.domain.emulated import NssFacts
from virtcard.domain.finding import Finding
from virtcard.domain.host import QemuHost, look, nss_facts, qemu_host, tls_directory, tls_missing, tls_unshown
from virtcard.domain.model import parse_domain
from virtcard.domain.preflight import HostFacts, check
from virtcard.domain.setup import Role, reader_setup
from virtcard.domain.spiceserver import spice_subtypes
from virtcard.domain.uri import parse_uri
from virtcard.limits import EMULATED_CARD_MAX

UUID = "3f0b6f3e-8a52-4b1c-9d0e-0a6f4b7c1d03"
HOST = HostFacts("/nowhere/at/all.sock", socket_dir_exists=False)
"""A host without a socket directory, which only a bridge needs."""
THREE = ("one", "two", "three")


def findings(devices: str = "", host: HostFacts = HOST, **setup: object) -> list[Finding]:
    xml = f"<domain type='kvm'><uuid>{UUID}</uuid><devices>{devices}</devices></domain>"
    return list(check(parse_domain(xml), host, setup=reader_setup(**setup)))  # type: ignore[arg-type]


def codes(devices: str = "", host: HostFacts = HOST, **setup: object) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in findings(devices, host, **setup)]


def certificates(*names: str, database: str = "", host: HostFacts = HOST) -> list[tuple[str, str]]:
    return codes(host=host, mode="host-certificates", certificates=names, database=database)


def tcp(host: HostFacts = HOST, devices: str = "", **setup: object) -> list[tuple[str, str]]:
    return codes(devices, host, **{"mode": "tcp", "port": 7001, **setup})


def test_a_good_setup_needs_no_socket_directory() -> None:
    assert certificates(*THREE) == codes(mode="host") == tcp() == []


@pytest.mark.parametrize("names", [(), ("one",), ("one", "two"), (*THREE, "four")])
def test_exactly_three_certificates_are_wanted(names: tuple[str, ...]) -> None:
    assert certificates(*names) == [("error", "certificates-three")]


@pytest.mark.parametrize("name", ["a,b", "a)", " a", "a ", "", "a\nb", "a\0"])
def test_a_name_that_libcacard_would_cut_is_refused(name: str) -> None:
    assert certificates("one", "two", name) == [("error", "certificate-name")]


@pytest.mark.parametrize("name", ["Alice's (old key", 'a "b"', "NSS:alice", "Ä"])
def test_other_names_are_taken(name: str) -> None:
    assert certificates("one", "two", name) == []


@pytest.mark.parametrize("database", ["nss", "./nss", '/a"b', "/a\nb", "sql:/etc/pki/nssdb"])
def test_a_database_that_qemu_cannot_be_told_is_refused(database: str) -> None:
    assert certificates(*THREE, database=database) == [("error", "nss-database-path")]


def test_what_overruns_the_buffer_of_qemu_is_refused_to_the_byte() -> None:
    room = EMULATED_CARD_MAX - len('db="" use_hw=no soft=(,Virtual Reader,CAC,,one,two,three)')
    assert certificates(*THREE, database="/" + "x" * (room - 1)) == []
    assert certificates(*THREE, database="/" + "x" * room) == [("error", "certificates-long")]
    assert certificates(*THREE, database="/" + "ä" * (room // 2 + 1)) == [("error", "certificates-long")]


@pytest.mark.parametrize(
    ("nss", "code"),
    [
        (NssFacts(exists=False), "nss-database-missing"),
        (NssFacts(missing=("two",)), "certificate-missing"),
        (NssFacts(unreadable=("/etc/pki/nssdb/key4.db",), user="libvirt-qemu"), "nss-database-unreadable"),
        (NssFacts(unreadable=("/etc/pki/nssdb/key4.db",)), "nss-database-unreadable"),
    ],
)
def test_what_the_host_lacks_is_an_error(nss: NssFacts, code: str) -> None:
    host = HostFacts("", nss=nss)
    assert certificates(*THREE, host=host) == [("error", code)]


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/etc/pki/nssdb/key4.db", "setfacl -R -m u:libvirt-qemu:rX /etc/pki/nssdb."),
        ("/etc/pki/nssdb", "setfacl -R -m u:libvirt-qemu:rX /etc/pki/nssdb."),
        ("/etc/pki", "setfacl -m u:libvirt-qemu:rX /etc/pki."),
    ],
)
def test_an_unreadable_database_says_how_to_mend_it(path: str, command: str) -> None:
    nss = NssFacts(unreadable=(path,), user="libvirt-qemu")
    (finding,) = findings(host=HostFacts("", nss=nss), mode="host")
    assert path in finding.message
    assert command in finding.hint


def test_a_database_that_nobody_can_look_into_is_a_warning() -> None:
    assert certificates(*THREE, host=HostFacts("", nss=NssFacts(asked=False))) == [("warning", "nss-database-unknown")]


@pytest.mark.parametrize(("mode", "passthru", "emulated"), [("host", True, False), ("tcp", False, True)])
def test_a_qemu_without_the_device_of_the_mode_is_refused(mode: str, passthru: bool, emulated: bool) -> None:
    host = HostFacts("", passthru_supported=passthru, emulated_supported=emulated)
    port = 7001 if mode == "tcp" else 0
    assert codes(host=host, mode=mode, port=port) == [("error", "qemu-without-ccid")]
    other = HostFacts("", passthru_supported=not passthru, emulated_supported=not emulated)
    assert codes(host=other, mode=mode, port=port) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "localhost", "LOCALHOST."])
def test_plain_tcp_is_welcome_on_the_loopback_device(address: str) -> None:
    assert tcp(address=address) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "cards.example.org", "127.0.0.1.example.org"])
def test_plain_tcp_elsewhere_must_be_meant(address: str) -> None:
    assert tcp(address=address) == [("error", "tcp-plain")]
    assert tcp(address=address, insecure=True) == [("warning", "tcp-plain")]
    assert tcp(address=address, tls=True) == []


@pytest.mark.parametrize("address", ["a b", "-x", "::1%eth0", "1.2.3", "300.1.1.1", "a/b", "x" * 64])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert ("error", "tcp-address") in tcp(address=address, insecure=True)


@pytest.mark.parametrize(("port", "role"), [(0, "bind"), (65_536, "connect"), (-1, "bind"), (22, "bind")])
def test_a_port_that_is_none_or_that_qemu_may_not_take_is_refused(port: int, role: str) -> None:
    assert tcp(port=port, role=role) == [("error", "tcp-port")]


def test_qemu_may_call_any_port() -> None:
    assert tcp(port=22, role="connect") == []


def test_a_port_of_another_domain_is_refused() -> None:
    host = HostFacts("", port_users=("other",))
    (finding,) = findings(host=host, mode="tcp", port=7001)
    assert (finding.code, "other" in finding.message) == ("tcp-port-used", True)
    assert tcp(host=host, role="connect") == []


@pytest.mark.parametrize(
    "device",
    [
        "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='7001'/></serial>",
        "<graphics type='vnc' port='7001'/>",
        "<graphics type='spice' tlsPort='7001'/>",
    ],
)
def test_a_port_of_another_device_of_the_domain_is_refused(device: str) -> None:
    assert tcp(devices=device) == [("error", "tcp-port-used")]
    assert tcp(devices=device, port=7002) == []


def test_missing_tls_files_are_refused() -> None:
    host = HostFacts("", tls_missing=("/etc/pki/qemu/ca-cert.pem",))
    (finding,) = findings(host=host, mode="tcp", port=7001, tls=True)
    assert finding.code == "tls-files"
    assert "/etc/pki/qemu/ca-cert.pem is missing" in finding.message
    assert tcp(host=host) == []


def test_a_qemu_that_calls_without_a_certificate_is_a_warning() -> None:
    host = HostFacts("", tls_unshown=("/etc/pki/qemu/client-cert.pem",))
    (finding,) = findings(host=host, mode="tcp", port=7001, tls=True, role="connect")
    assert (finding.severity, finding.code) == ("warning", "tls-nobody")
    assert finding.message.startswith("/etc/pki/qemu/client-cert.pem is missing")
    assert tcp(host=host, role="connect") == []


GRAPHICS = "<graphics type='spice'><listen type='none'/></graphics>"


def spice(host: HostFacts = HOST, devices: str = GRAPHICS) -> list[tuple[str, str]]:
    return codes(devices, host, mode="spice")


def test_a_card_over_spice_needs_spice_graphics() -> None:
    assert spice() == []
    assert spice(devices="<graphics type='vnc'/>") == [("error", "spice-graphics-missing")]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        (HostFacts("", spice_supported=False), "qemu-without-spice"),
        (HostFacts("", spice_subtypes=("vdagent", "usbredir")), "spice-server-without-smartcard"),
        (HostFacts("", spice_subtypes=()), "spice-server-without-smartcard"),
        (HostFacts("", passthru_supported=False), "qemu-without-ccid"),
    ],
)
def test_a_host_that_cannot_carry_cards_over_spice_is_refused(host: HostFacts, code: str) -> None:
    assert spice(host) == [("error", code)]


def test_a_host_that_can_or_that_nobody_could_ask_is_taken() -> None:
    able = HostFacts("", passthru_supported=True, spice_supported=True, spice_subtypes=("vdagent", "smartcard"))
    assert spice(able) == spice(HostFacts("")) == []


@pytest.mark.parametrize(
    ("value", "second"),
    [
        ("spicevmc,id=cc,name=smartcard", True),
        ('{"id":"cc","backend":{"type":"spicevmc","data":{"type":"smartcard"}}}', True),
        ("spicevmc,id=vd,name=vdagent", False),
        ("socket,id=smartcard,path=/x", False),
    ],
)
def test_a_spice_smart_card_among_the_arguments_for_qemu_is_never_joined_by_a_second(value: str, second: bool) -> None:
    namespace = "http://libvirt.org/schemas/domain/qemu/1.0"
    commandline = (
        f"<q:commandline xmlns:q='{namespace}'><q:arg value='-chardev'/><q:arg value='{value}'/></q:commandline>"
    )
    xml = f"<domain type='kvm'><uuid>{UUID}</uuid><devices>{GRAPHICS}</devices>{commandline}</domain>"
    found = [finding.code for finding in check(parse_domain(xml), HOST, setup=reader_setup("spice"))]
    assert found == (["spice-smartcard-second"] if second else [])


def test_the_host_is_asked_for_spice_in_its_own_mode_alone() -> None:
    assert look(reader_setup("spice"), QemuHost()).spice_subtypes == ("vdagent", "smartcard", "usbredir")
    assert look(reader_setup(), QemuHost()).spice_subtypes is None


@pytest.mark.parametrize("python", ["/bin/false", "/nonexistent"])
def test_a_spice_server_that_cannot_be_asked_is_unknown(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python)
    assert spice_subtypes() is None


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An NSS database with one certificate, called "Alice's key"."""
    path = tmp_path / "nss"
    path.mkdir()
    (tmp_path / "noise").write_bytes(os.urandom(64))
    certutil = ["certutil", "-d", str(path)]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    name = ["-n", "Alice's key", "-s", "CN=Alice", "-x", "-t", "u,u,u", "-m", "1", "-z", str(tmp_path / "noise")]
    subprocess.run([*certutil, "-S", *name], check=True, capture_output=True)
    return path


def test_certutil_tells_which_certificates_are_there(database: Path) -> None:
    facts = nss_facts(str(database), ("Alice's key", "Bob's key", "-h"))
    assert facts == NssFacts(missing=("Bob's key", "-h"))


@pytest.mark.parametrize("place", ["", "nothing", "\0", "nss/cert9.db"])
def test_a_database_that_is_not_there_is_said_to_be_missing(database: Path, place: str) -> None:
    assert nss_facts(str(database.parent / place), THREE) == NssFacts(exists=False)


def test_no_library_that_a_database_names_is_loaded(database: Path, tmp_path: Path) -> None:
    """certutil itself would load it, with the rights of virtcardd."""
    source, library, trace = tmp_path / "evil.c", tmp_path / "evil.so", tmp_path / "loaded"
    source.write_text(
        "#include <fcntl.h>\n"
        f'__attribute__((constructor)) static void loaded(void) {{ open("{trace}", O_CREAT | O_WRONLY, 0600); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    with (database / "pkcs11.txt").open("a") as modules:
        modules.write(f"library={library}\nname=evil\n\n")
    assert nss_facts(str(database), ("Alice's key",)) == NssFacts()
    assert not trace.exists()
    subprocess.run(["certutil", "-L", "-d", str(database)], check=True, capture_output=True)
    assert trace.exists()


def test_a_pipe_in_the_place_of_a_database_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cert9.db")
    assert nss_facts(str(tmp_path), THREE) == NssFacts(exists=False)


def test_without_certutil_the_certificates_are_unknown(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert nss_facts(str(database), THREE) == NssFacts(asked=False)


def test_a_database_that_is_damaged_is_unknown(database: Path) -> None:
    (database / "cert9.db").write_bytes(b"no database")
    assert not nss_facts(str(database), THREE).asked


@pytest.fixture
def open_database(database: Path) -> Iterator[Path]:
    """The same where every user may go; pytest's own directory is for its user alone."""
    with TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        copy = Path(shutil.copytree(database, place / "nss"))
        copy.chmod(0o755)
        yield copy


def test_another_user_must_be_able_to_read_every_file_and_pass_every_directory(open_database: Path) -> None:
    database = open_database
    facts = nss_facts(str(database), (), "nobody")
    assert str(database / "key4.db") in facts.unreadable
    assert str(database) not in facts.unreadable
    for file in database.iterdir():
        file.chmod(0o644)
    assert nss_facts(str(database), (), "nobody").unreadable == ()
    database.chmod(0o700)
    assert nss_facts(str(database), (), "nobody").unreadable == (str(database),)


def test_only_what_the_mode_needs_is_looked_at(database: Path, tmp_path: Path) -> None:
    host = QemuHost("", tmp_path / "qemu.conf")
    assert look(reader_setup(), host).nss is None
    assert look(reader_setup("tcp", port=7001), host).tls_missing == ()
    setup = reader_setup("host-certificates", certificates=("Alice's key",) * 3, database=str(database))
    assert look(setup, host).nss == NssFacts()


def test_tls_files_are_looked_for_where_libvirt_has_them(tmp_path: Path) -> None:
    conf, pki = tmp_path / "qemu.conf", tmp_path / "pki"
    assert tls_directory(conf, pki) == pki / "qemu"
    conf.write_text('default_tls_x509_cert_dir = "/srv/all"\n# chardev_tls_x509_cert_dir = "/no"\n')
    assert tls_directory(conf, pki) == Path("/srv/all")
    (pki / "libvirt-chardev").mkdir(parents=True)
    assert tls_directory(conf, pki) == pki / "libvirt-chardev"
    conf.write_text('chardev_tls_x509_cert_dir="/srv/cards"\n')
    assert tls_directory(conf, pki) == Path("/srv/cards")


def test_a_server_needs_a_key_and_a_client_the_authority_alone(tmp_path: Path) -> None:
    conf, pki = tmp_path / "qemu.conf", tmp_path / "pki"
    (pki / "qemu").mkdir(parents=True)
    (pki / "qemu" / "ca-cert.pem").touch()
    names = [Path(path).name for path in tls_missing(Role.BIND, conf, pki)]
    assert names == ["server-cert.pem", "server-key.pem"]
    assert tls_missing(Role.CONNECT, conf, pki) == ()
    assert [Path(path).name for path in tls_unshown(Role.CONNECT, conf, pki)] == ["client-cert.pem", "client-key.pem"]
    assert tls_unshown(Role.BIND, conf, pki) == ()


def test_qemu_is_ours_in_a_session(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    host = qemu_host(parse_uri("qemu:///session", environment), environment)
    assert host == QemuHost("", tmp_path / "config/libvirt/qemu.conf")
    assert qemu_host(parse_uri("qemu:///system", environment), environment).conf == Path("/etc/libvirt/qemu.conf")
