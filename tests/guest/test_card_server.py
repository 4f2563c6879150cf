"""Cards that live on another machine: over TLS, from one network to the other, and after a migration."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_der_x509_certificate

from helpers.guest import Guest
from helpers.guest_cards import pkcs11
from helpers.libvirtd import NOBODY, Libvirtd, private_libvirtd
from helpers.machines import Usb, domain_xml, qemu_guest
from helpers.migration import migrate
from helpers.network import NetworkHost, free_port, two_hosts
from helpers.pki import DAY, Authority, Issued, lay_out
from helpers.virtcardd import BIN
from helpers.waiting import wait_until
from virtcard.cli.run import run

PIN, PUK = "123456", "12345678"
LOGIN = f"--login --pin {PIN} --id 01"
PORT = 7001
NOT_ROOT = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"]
"""Root's cards are the system's; somebody else's are below the home directory."""
PATIENCE = 40.0


class CardServer:
    """Another machine, with a PIV card called jane in a store of its own."""

    def __init__(self, directory: Path, prefix: Sequence[str] = ()) -> None:
        self._prefix = prefix
        self._environment = os.environ | {"XDG_DATA_HOME": str(directory / "data"), "HOME": str(directory)}
        self._log = directory / "said"
        for name, digits in (("pin", PIN), ("puk", PUK)):
            (directory / name).write_text(f"{digits}\n")
        files = ["--pin-file", str(directory / "pin"), "--puk-file", str(directory / "puk")]
        self._run("--session", "card", "create", "jane", "--type", "piv", "--subject", "CN=Jane", *files)

    @property
    def said(self) -> str:
        """What `connect` or `listen` has told so far."""
        return self._log.read_text()

    @contextmanager
    def brings(self, verb: str, endpoint: str, pki: Path) -> Iterator[subprocess.Popen[bytes]]:
        """`virtcard connect` or `listen` with the card."""
        words = self._words(verb, "--pki", str(pki), endpoint, "card:jane")
        with self._log.open("wb") as log:
            child = subprocess.Popen(words, stdout=log, stderr=log, env=self._environment)
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(20)

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            self._words(*words), env=self._environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def _words(self, *words: str) -> list[str]:
        not_root = NOT_ROOT if os.geteuid() == 0 else []
        return [*self._prefix, *not_root, str(BIN / "virtcard"), *words]


def signs(guest: Guest, text: bytes) -> None:
    """The guest signs with the card, and its signature is the card's."""
    guest.run("pkcs11-tool -r --type cert --id 01 -o /tmp/read.der", 60).check()
    key = load_der_x509_certificate(guest.get("/tmp/read.der")).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(pkcs11(guest, f"{LOGIN} --sign --mechanism SHA256-RSA-PKCS", text), text, padding.PKCS1v15(), SHA256())


# Two networks.


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[NetworkHost, NetworkHost]]:
    """Where the machine runs, and where the card is."""
    with two_hosts() as both:
        yield both


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets, and open to somebody who is not root."""
    with TemporaryDirectory(prefix="vc-", dir="/tmp") as directory:
        yield Path(directory)


def reader(pki: Path, host: str, role: str) -> list[str]:
    """QEMU's arguments of a virtual reader over TLS."""
    more = "server=on,wait=off" if role == "server" else "reconnect=1"
    return [
        *("-object", f"tls-creds-x509,id=tls,dir={pki},endpoint={role},verify-peer=on,sanity-check=off"),
        *("-chardev", f"socket,id=card,host={host},port={PORT},tls-creds=tls,{more}"),
        *("-device", "usb-ccid", "-device", "ccid-card-passthru,chardev=card"),
    ]


@pytest.mark.parametrize(("role", "verb", "usb"), [("server", "connect", "xhci"), ("client", "listen", "uhci")])
def test_a_guest_signs_with_a_card_of_another_host(
    hosts: tuple[NetworkHost, NetworkHost], folder: Path, role: str, verb: str, usb: Usb
) -> None:
    machine, cards = hosts
    listener = machine if role == "server" else cards
    authority = Authority()
    good = authority.issue("host", addresses=(listener.address,))
    pki = lay_out(folder / "pki", authority, server=good, client=good)
    server = CardServer(folder, cards.words)
    with (
        qemu_guest(folder, usb, reader(pki, listener.address, role), prefix=machine.words) as guest,
        server.brings(verb, f"tls://{listener.address}:{PORT}", pki) as child,
    ):
        guest.wait_reader_state("present", timeout=PATIENCE)
        signs(guest, b"signed over TLS")
        child.send_signal(signal.SIGTERM)
        guest.wait_reader_state("empty", timeout=PATIENCE)


def wrong(authority: Authority, kind: str) -> Issued:
    """A certificate with something wrong; the revoked one is on the list of whoever looks at it."""
    if kind == "stranger":
        return Authority("stranger").issue()
    return authority.issue("host", addresses=("192.0.2.1", "192.0.2.2"), ends=-DAY if kind == "expired" else DAY)


@contextmanager
def paused_qemu(machine: NetworkHost, pki: Path, host: str, role: str) -> Iterator[None]:
    """A machine that does not run, whose reader is there all the same."""
    command = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"]
    process = subprocess.Popen([*machine.words, *command, "-device", "qemu-xhci", *reader(pki, host, role)])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("kind", ["stranger", "expired", "revoked"])
@pytest.mark.parametrize(("role", "verb"), [("server", "connect"), ("client", "listen")])
def test_a_machine_of_another_host_with_a_wrong_certificate_gets_no_card(
    hosts: tuple[NetworkHost, NetworkHost], folder: Path, role: str, verb: str, kind: str
) -> None:
    machine, cards = hosts
    listener = machine if role == "server" else cards
    authority = Authority()
    bad, good = wrong(authority, kind), wrong(authority, "good")
    theirs = lay_out(folder / "theirs", authority, server=bad, client=bad)
    revoked = authority.revocation_pem(*[bad] if kind == "revoked" else [])
    ours = lay_out(folder / "ours", authority, server=good, client=good, revoked=revoked)
    verdict = {"stranger": "is of no authority", "expired": "has expired", "revoked": "was revoked"}[kind]
    server = CardServer(folder, cards.words)
    with (
        server.brings(verb, f"tls://{listener.address}:{PORT}", ours),
        paused_qemu(machine, theirs, listener.address, role),
    ):
        wait_until(lambda: verdict in server.said, PATIENCE, "it is told")
    assert "is in the virtual reader" not in server.said


@pytest.mark.parametrize(("role", "verb"), [("server", "connect"), ("client", "listen")])
def test_a_machine_of_another_host_takes_no_card_of_a_stranger(
    hosts: tuple[NetworkHost, NetworkHost], folder: Path, role: str, verb: str
) -> None:
    """Ours would say at the start that our own certificate is bad; so here the other end has another authority."""
    machine, cards = hosts
    listener = machine if role == "server" else cards
    authority, another = Authority(), Authority("another")
    addresses = (listener.address,)
    ours, theirs = authority.issue("h", addresses=addresses), another.issue("h", addresses=addresses)
    pki = lay_out(folder / "ours", authority, server=ours, client=ours)
    # Each trusts the other's certificate where it must, so that only the last check is left: QEMU's of ours.
    (pki / "ca-cert.pem").write_bytes(authority.certificate_pem() + another.certificate_pem())
    server = CardServer(folder, cards.words)
    with (
        server.brings(verb, f"tls://{listener.address}:{PORT}", pki),
        paused_qemu(machine, lay_out(folder / "theirs", another, server=theirs, client=theirs), listener.address, role),
    ):
        sentence = "hung up after the TLS handshake; it may not accept us."
        wait_until(lambda: sentence in server.said, PATIENCE, "it is told")
    assert "is in the virtual reader" not in server.said


# libvirt.


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def libvirtds(authority: Authority) -> Iterator[tuple[Libvirtd, Libvirtd]]:
    """Two hosts whose QEMUs have certificates, and want to see one."""
    with ExitStack() as stack:
        made = []
        for name in ("here", "there"):
            libvirtd = stack.enter_context(private_libvirtd(name))
            own = authority.issue()
            pki = lay_out(libvirtd.directory / "pki", authority, server=own, client=own)
            conf = libvirtd.directory / "config/libvirt/qemu.conf"
            conf.write_text(f'chardev_tls_x509_cert_dir = "{pki}"\nchardev_tls_x509_verify = 1\n')
            libvirtd.kill()
            libvirtd.start()
            made.append(libvirtd)
        yield made[0], made[1]


def injected(xml: str, *words: str, monkeypatch: pytest.MonkeyPatch, output: Any) -> str:
    """What the filter makes of it."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(xml.encode())))
    assert run(["inject-xml", *words]) == 0
    return str(output.readouterr().out)


@contextmanager
def started(libvirtd: Libvirtd, xml: str) -> Iterator[Guest]:
    """The guest, booted; whoever migrates it sees to its end elsewhere."""
    with closing(libvirtd.open()) as connection:
        name = connection.createXML(xml).name()
    with closing(Guest(libvirtd.directory, name)) as guest:
        yield guest.wait_until_up()
    with closing(libvirtd.open()) as connection:
        for domain in connection.listAllDomains():
            domain.destroy()


def test_a_guest_of_libvirts_finds_its_card_again_after_a_live_migration(
    libvirtds: tuple[Libvirtd, Libvirtd],
    authority: Authority,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, there = libvirtds
    port, own = free_port(), authority.issue()
    words = ["--mode", "tcp", "--tcp", f"localhost:{port}", "--tls", "--role", "connect"]
    xml = injected(domain_xml(here.directory, "moves"), *words, monkeypatch=monkeypatch, output=capsys)
    pki = lay_out(folder / "pki", authority, server=own)
    with CardServer(folder).brings("listen", f"tls://localhost:{port}", pki), started(here, xml) as guest:
        guest.wait_reader_state("present", timeout=PATIENCE)
        signs(guest, b"signed here")
        guest.close()
        migrate("moves", here, there)
        with closing(Guest(there.directory, "moves")) as moved:
            moved.wait_until_up()
            wait_until(lambda: sees_a_card(moved), PATIENCE, "the card is in again", 0.2)
            signs(moved, b"signed there")
            assert len(there.qemu_pids()) == 1
        with closing(there.open()) as connection:
            connection.lookupByName("moves").destroy()


def sees_a_card(guest: Guest) -> bool:
    """And can read it, which it cannot before it was put in again."""
    return guest.run("opensc-tool --name", 30).exit_code == 0


def test_a_guest_of_libvirts_that_listens_is_brought_a_card(
    libvirtds: tuple[Libvirtd, Libvirtd],
    authority: Authority,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, _ = libvirtds
    port, own = free_port(), authority.issue()
    words = ["--mode", "tcp", "--tcp", f"localhost:{port}", "--tls"]
    xml = injected(domain_xml(here.directory, "listens", "uhci"), *words, monkeypatch=monkeypatch, output=capsys)
    pki = lay_out(folder / "pki", authority, client=own)
    with CardServer(folder).brings("connect", f"tls://localhost:{port}", pki), started(here, xml) as guest:
        guest.wait_reader_state("present", timeout=PATIENCE)
        signs(guest, b"signed over libvirt's TLS")
