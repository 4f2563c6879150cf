"""Every mode of enable in a real domain, and what the guest sees of its card."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from helpers.certutil import NAMES, make_nss_database
from helpers.guest import Guest
from helpers.host import Host, private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import Usb, domain_xml
from helpers.scripted_card import FCI, SELECT, ScriptedCard
from helpers.virtcardd import BIN
from helpers.waiting import wait_until
from virtcard.domain.setup import NSS_DATABASE

READER = "reader:Virtual PCD 00 00"
GET_RESPONSE = b"\x00\xc0\x00\x00" + bytes([len(FCI)])


@pytest.fixture(scope="module")
def host(libvirtd: Libvirtd) -> Iterator[Host]:
    with private_host(libvirtd) as running:
        running.slots[0].plug(ScriptedCard())
        wait_until(
            lambda: any(reader["present"] for reader in running.virtcardd.json("readers")), 10, "the card is there"
        )
        yield running


@pytest.fixture
def port() -> int:
    """A TCP port of the loopback device that nobody listens on."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        number: int = sock.getsockname()[1]
        return number


@contextmanager
def defined(host: Host, name: str, usb: Usb) -> Iterator[str]:
    """A domain without a reader, that virtcardd has seen; gone afterwards."""
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(domain_xml(host.libvirtd.directory, name, usb))
    try:
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 5, "the domain is on the bus")
        yield name
    finally:
        with closing(host.libvirtd.open()) as connection:
            domain = connection.lookupByName(name)
            if domain.isActive():
                domain.destroy()
            domain.undefine()


@contextmanager
def started(host: Host, name: str) -> Iterator[Guest]:
    """The domain's guest, booted, with its reader."""
    host.libvirtd.virsh("start", name)
    with closing(Guest(host.libvirtd.directory, name)) as guest:
        guest.wait_until_up()
        guest.wait_for_readers(1)
        yield guest


@contextmanager
def bringing(host: Host, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`virtcard connect` or `listen` in the foreground, as somebody on another machine would run it."""
    child = subprocess.Popen(
        [BIN / "virtcard", *words, READER],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=host.virtcardd.environment,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")


def test_three_certificates_of_an_nss_database_are_a_card_in_the_guest(host: Host) -> None:
    database = make_nss_database(host.libvirtd.directory / "nss")
    words = [word for name in NAMES for word in ("--certificate", name)]
    with defined(host, "modes-nss", "uhci") as vm:
        host.virtcardd.virtcard("enable", vm, "--mode", "host-certificates", *words, "--database", str(database))
        (shape,) = (each for each in host.virtcardd.json("list") if each["name"] == vm)
        assert (shape["mode"], shape["reader"], shape["card"]) == ("host-certificates", "present", "")
        with started(host, vm) as guest:
            guest.wait_reader_state("present")
            listed = guest.run("pkcs11-tool --list-objects --type cert", 60).check()
            assert listed.count("Certificate Object; type = X.509 cert") == len(NAMES)
            assert all(f"CN={name}" in listed for name in NAMES)
            guest.put("/text", b"signed in QEMU")
            sign = "pkcs11-tool --login --pin 00000000 --sign --mechanism SHA256-RSA-PKCS --id 0001"
            guest.run(f"{sign} --input-file /text --output-file /signature", 60).check()
            public_key = "pkcs11-tool --read-object --type cert --id 0001 --output-file /der"
            verify = "openssl dgst -sha256 -verify /key -signature /signature /text"
            extract = "openssl x509 -inform der -in /der -pubkey -noout > /key"
            assert "Verified OK" in guest.run(f"{public_key} && {extract} && {verify}", 60).check()
            refused = host.virtcardd.run("insert", vm, READER)
            assert refused.returncode == 1
            assert "lives in QEMU (mode host-certificates)" in refused.stderr
            assert "lives in QEMU" in host.virtcardd.run("eject", vm).stderr
            assert host.virtcardd.json("info", vm)["bridges"] == []


def test_a_certificate_that_is_not_in_the_database_is_refused_and_nothing_changes(host: Host) -> None:
    """QEMU starts without a word, and the card lacks the certificate."""
    database = make_nss_database(host.libvirtd.directory / "nss-two", NAMES[:2])
    words = [word for name in NAMES for word in ("--certificate", name)]
    with defined(host, "modes-missing", "xhci") as vm:
        before = host.libvirtd.virsh("dumpxml", vm)
        refused = host.virtcardd.run("enable", vm, "--mode", "host-certificates", *words, "--database", str(database))
        assert refused.returncode == 1
        assert "has no certificate 'cert3'" in refused.stderr
        assert host.libvirtd.virsh("dumpxml", vm) == before


@pytest.mark.parametrize(("role", "verb", "kind"), [("bind", "connect", "xhci"), ("connect", "listen", "uhci")])
def test_a_card_comes_over_tcp(host: Host, role: str, verb: str, kind: Usb, port: int) -> None:
    with defined(host, f"modes-{role}", kind) as vm:
        place = f"127.0.0.1:{port}"
        told = host.virtcardd.virtcard("enable", vm, "--mode", "tcp", "--tcp", place, "--role", role)
        assert f"'virtcard {verb} tcp://{place} SOURCE'" in told
        with started(host, vm) as guest:
            guest.wait_reader_state("empty")
            assert "comes over TCP" in host.virtcardd.run("insert", vm, READER).stderr
            for _ in range(2):
                with bringing(host, verb, f"tcp://{place}"):
                    guest.wait_reader_state("present")
                    assert guest.transmit(SELECT, GET_RESPONSE)[1] == FCI + b"\x90\x00"
                guest.wait_reader_state("empty")


def test_the_hosts_nss_tokens_need_the_hosts_nss_database(host: Host) -> None:
    """QEMU does not start without it: "failed to initialize vcard"."""
    with defined(host, "modes-host", "xhci") as vm:
        enabled = host.virtcardd.run("enable", vm, "--mode", "host")
        assert enabled.returncode == 1
        assert f"no NSS database in {NSS_DATABASE}" in enabled.stderr
        assert f"certutil -N -d {NSS_DATABASE}" in enabled.stderr


def test_a_domain_that_changes_its_mode_is_bridged_after_the_next_power_off(host: Host, port: int) -> None:
    with defined(host, "modes-change", "xhci") as vm:
        before = host.libvirtd.virsh("dumpxml", "--inactive", vm)
        host.virtcardd.virtcard("enable", vm, "--mode", "tcp", "--tcp", f"127.0.0.1:{port}")
        with started(host, vm):
            assert "fully powered off" in host.virtcardd.virtcard("enable", vm, "--mode", "bridge")
            shape = host.virtcardd.json("info", vm)
            assert (shape["mode"], shape["reader"]) == ("bridge", "pending-power-cycle")
            assert "comes over TCP" in host.virtcardd.run("insert", vm, READER).stderr
            host.libvirtd.virsh("destroy", vm)
        with started(host, vm) as guest:
            host.virtcardd.virtcard("insert", vm, READER)
            guest.wait_reader_state("present")
            host.virtcardd.virtcard("eject", vm)
        host.virtcardd.virtcard("disable", vm)
        host.libvirtd.virsh("destroy", vm)
        assert host.libvirtd.virsh("dumpxml", "--inactive", vm) == before
