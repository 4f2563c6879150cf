"""The smart card chapter of QEMU's manual, word by word, with our vscclient; and libcacard beside it in one guest."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_der_x509_certificate

from helpers import nss
from helpers.guest import Guest
from helpers.guest_cards import nss_listing
from helpers.machines import qemu_guest
from helpers.network import free_port
from virtcard.card.soft.nss import NICKNAMES

SOFT = f"use_hw=no soft=(,Fake Smart Card,CAC,,{','.join(NICKNAMES)})"
READERS = {"vscclient": 0, "libcacard": 1}
SELECT_ACA = bytes.fromhex("00A4040007A0000000790300")
IDS = ("0001", "0002", "0003")
"""What OpenSC's CAC driver calls the certificates of the first three PKI applets."""


@dataclass(frozen=True, slots=True)
class Machine:
    guest: Guest
    port: int


def manual(port: int) -> list[str]:
    """The command line of the manual, but for its host."""
    chardev = f"socket,server=on,host=127.0.0.1,port={port},id=ccid,wait=off"
    return ["-usb", "-device", "usb-ccid", "-chardev", chardev, "-device", "ccid-card-passthru,chardev=ccid"]


def in_process() -> list[str]:
    """libcacard inside QEMU, with the same certificates."""
    names = ",".join(f"cert{number}={name}" for number, name in enumerate(NICKNAMES, 1))
    card = f"ccid-card-emulated,bus=second.0,backend=certificates,{names},db=sql:{nss.shared_database()}"
    return ["-device", "usb-ccid,id=second", "-device", card]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    port = free_port()
    with TemporaryDirectory() as folder:
        arguments = [*manual(port), *in_process()]
        with qemu_guest(Path(folder), "uhci", arguments) as guest:
            guest.wait_for_readers(2)
            guest.wait_reader_state("present", READERS["libcacard"])
            yield Machine(guest, port)


@contextmanager
def vscclient(port: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "virtcard.cli.local.vscclient", *words, "127.0.0.1", str(port)]
    pipe = subprocess.PIPE
    client = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield client
    finally:
        client.kill()
        client.communicate()


@pytest.fixture
def client(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    """The manual's vscclient, with its card in the guest."""
    with vscclient(machine.port, "-e", f'db="sql:{nss.shared_database()}" {SOFT}') as client:
        machine.guest.wait_reader_state("present")
        yield client
        say(client, "exit")
        client.wait(20)
    machine.guest.wait_reader_state("empty")


def say(client: subprocess.Popen[str], words: str) -> None:
    assert client.stdin is not None
    client.stdin.write(f"{words}\n")
    client.stdin.flush()


def certificate(guest: Guest, slot: int, identifier: str) -> bytes:
    guest.run(f"pkcs11-tool --slot-index {slot} -r --type cert --id {identifier} -o /tmp/read.der", 60).check()
    return guest.get("/tmp/read.der")


@pytest.mark.parametrize("reader", READERS)
def test_the_guest_sees_the_three_certificates_of_the_database(
    machine: Machine, client: subprocess.Popen[str], reader: str
) -> None:
    seen = [certificate(machine.guest, READERS[reader], identifier) for identifier in IDS]
    assert seen == nss.certificates()


def test_libcacard_and_we_show_the_guest_the_same_objects(machine: Machine, client: subprocess.Popen[str]) -> None:
    shown = [machine.guest.run(f"pkcs11-tool --slot-index {slot} -O", 60).check() for slot in READERS.values()]
    ours, theirs = (objects(text) for text in shown)
    assert ours == theirs
    assert sum(line.startswith("Certificate") for line in ours) == 3


def objects(text: str) -> list[str]:
    """What an object is and is called, without where it stands in memory and in the list."""
    lines = (line.strip() for line in text.splitlines())
    kept = ("Public Key", "Certificate", "label:", "subject:", "serial:", "ID:")
    return sorted(line for line in lines if line.startswith(kept))


def test_nss_in_the_guest_lists_the_certificates(machine: Machine, client: subprocess.Popen[str]) -> None:
    listed = nss_listing(machine.guest)
    for label in ("CAC ID Certificate", "CAC Email Signature Certificate", "CAC Email Encryption Certificate"):
        assert label in listed


def test_a_signature_made_with_the_database_password_verifies(machine: Machine, client: subprocess.Popen[str]) -> None:
    guest, data = machine.guest, random.randbytes(100)
    guest.put("/tmp/data", data)
    pin = nss.PASSWORD.decode()
    command = f"pkcs11-tool --slot-index 0 --login --pin {pin} --sign --mechanism SHA256-RSA-PKCS --id 0002"
    guest.run(f"{command} -i /tmp/data -o /tmp/signature", 60).check()
    public = load_der_x509_certificate(nss.certificates()[1]).public_key()
    assert isinstance(public, RSAPublicKey)
    public.verify(guest.get("/tmp/signature"), data, PKCS1v15(), SHA256())


def test_a_wrong_pin_costs_a_try(machine: Machine, client: subprocess.Popen[str]) -> None:
    said = machine.guest.run("pkcs11-tool --slot-index 0 --login --pin 87654321 --sign -i /dev/null --id 0001", 60)
    assert "CKR_PIN_INCORRECT" in said.output
    assert machine.guest.transmit(SELECT_ACA, bytes.fromhex("00200000"))[1] == bytes.fromhex("63C2")


def test_commands_on_standard_input_take_the_card_out_and_put_it_in(
    machine: Machine, client: subprocess.Popen[str]
) -> None:
    say(client, "remove")
    machine.guest.wait_reader_state("empty")
    say(client, "insert")
    machine.guest.wait_reader_state("present")


def test_ctrl_c_takes_the_card_out(machine: Machine) -> None:
    with vscclient(machine.port, "-e", f'db="sql:{nss.shared_database()}" {SOFT}') as client:
        machine.guest.wait_reader_state("present")
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 130
    machine.guest.wait_reader_state("empty")


def test_it_ends_when_qemu_goes_away() -> None:
    port = free_port()
    words = ("-e", f'db="sql:{nss.shared_database()}" {SOFT}')
    with (
        TemporaryDirectory() as folder,
        qemu_guest(Path(folder), "uhci", manual(port)) as guest,
        vscclient(port, *words) as client,
    ):
        guest.wait_reader_state("present")
        guest.process.kill()
        assert client.wait(20) == 0
        assert client.stderr is not None
        assert "QEMU" in client.stderr.read()


def test_with_reconnect_the_card_is_in_the_next_qemu() -> None:
    port = free_port()
    words = ("-e", f'db="sql:{nss.shared_database()}" {SOFT}', "--reconnect")
    with vscclient(port, *words) as client:
        for _ in range(2):
            with TemporaryDirectory() as folder, qemu_guest(Path(folder), "uhci", manual(port)) as guest:
                guest.wait_reader_state("present", timeout=60)
                assert certificate(guest, 0, IDS[0]) == nss.certificates()[0]
        assert client.poll() is None


def test_on_xhci_the_card_works_too() -> None:
    """libcacard's does not: its capability container is read by an answer of 54 bytes, after which QEMU's usb-ccid is
    one answer behind on xHCI."""
    port = free_port()
    arguments = [word for word in manual(port) if word != "-usb"]
    words = ("-e", f'db="sql:{nss.shared_database()}" {SOFT}')
    with (
        TemporaryDirectory() as folder,
        qemu_guest(Path(folder), "xhci", arguments) as guest,
        vscclient(port, *words),
    ):
        guest.wait_reader_state("present")
        assert [certificate(guest, 0, identifier) for identifier in IDS] == nss.certificates()
