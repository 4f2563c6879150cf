"""The example package, installed beside virtcard: its card is in a guest, by `virtcard connect` and by virtcardd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from helpers.guest import Guest
from helpers.host import Host, private_host
from helpers.libvirtd import Libvirtd
from helpers.machines import domain_xml
from helpers.network import free_port
from helpers.piv import PIN, new_card
from helpers.plugins import plugin
from helpers.qemu_peer import CARD_REMOVE, READER_REMOVE, QemuPeer
from helpers.scripted_card import FCI, OK, SELECT, ScriptedCard
from helpers.virtcardd import BIN
from helpers.vpcd import CardInSlot, Slot
from helpers.waiting import wait_until
from virtcard.card.soft.model import Algorithm

EXAMPLE = Path(__file__).parents[2] / "contrib/examples/vpicc"
GET_RESPONSE = bytes.fromhex("00C00000") + bytes([len(FCI)])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it, for PYTHONPATH; and with one that cannot load."""
    folder = tmp_path_factory.mktemp("example")
    source, target = folder / "vpicc", folder / "site"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    words = ["install", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--target"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, target, source], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    plugin(target, "floppy", "import no_such_drive")
    return target


@pytest.fixture(scope="module")
def host(libvirtd: Libvirtd, site: Path) -> Iterator[Host]:
    with private_host(libvirtd, PYTHONPATH=str(site)) as running:
        yield running


@pytest.fixture
def port() -> int:
    return free_port()


@contextmanager
def machine(host: Host, name: str) -> Iterator[Guest]:
    """A running guest with virtcard's reader; gone afterwards."""
    with closing(host.libvirtd.open()) as connection:
        connection.defineXML(domain_xml(host.libvirtd.directory, name))
    try:
        wait_until(lambda: host.virtcardd.run("info", name).returncode == 0, 10, "the domain is on the bus")
        host.virtcardd.virtcard("enable", name)
        host.libvirtd.virsh("start", name)
        with closing(Guest(host.libvirtd.directory, name)) as guest:
            guest.wait_until_up()
            guest.wait_for_readers(1)
            yield guest
    finally:
        with closing(host.libvirtd.open()) as connection:
            domain = connection.lookupByName(name)
            if domain.isActive():
                domain.destroy()
            domain.undefine()


def test_doctor_and_the_journal_name_what_serves_and_what_does_not(host: Host) -> None:
    (check,) = (
        each for each in json.loads(host.virtcardd.run("doctor", "--json").stdout) if each["check"] == "sources"
    )
    reason = "'floppy:' of virtcard-floppy does not serve: ModuleNotFoundError: No module named 'no_such_drive'."
    assert check["result"] == "warning"
    assert reason in check["message"]
    assert "vpicc" not in check["message"]
    assert reason in host.virtcardd.log
    refused = host.virtcardd.run("connect", "unix:///nowhere.sock", "floppy:a")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "The card source 'floppy:' does not load." in refused.stderr


def test_the_guest_signs_with_a_card_behind_a_vpicc_client(host: Host, port: int, tmp_path: Path) -> None:
    card = new_card(tmp_path / "cards", algorithms=[(0x9A, Algorithm.RSA2048)])
    with machine(host, "vpicc") as guest, Slot(port) as client:
        client.plug(CardInSlot(card.card))
        host.virtcardd.virtcard("insert", "vpicc", f"vpicc:{port}")
        guest.wait_reader_state("present")
        assert "Personal Identity Verification Card" in guest.run("opensc-tool --name", 60).check()
        guest.put("letter", b"signed far away")
        sign = f"pkcs11-tool --login --pin {PIN.decode()} --sign --mechanism SHA256-RSA-PKCS --id 01"
        guest.run(f"{sign} --input-file letter --output-file signature", 60).check()
        record = card.stored.data.key(0x9A)
        assert record is not None
        public = load_der_public_key(record.public)
        assert isinstance(public, RSAPublicKey)
        public.verify(guest.get("signature"), b"signed far away", PKCS1v15(), SHA256())
        client.unplug()
        guest.wait_reader_state("empty")
        client.plug(ScriptedCard())
        guest.wait_reader_state("present")
        assert guest.transmit(SELECT, GET_RESPONSE)[1] == FCI + OK
        host.virtcardd.virtcard("eject", "vpicc")
        guest.wait_reader_state("empty")
        wait_until(lambda: listens(port) is False, 5, "the port is closed")


def listens(port: int) -> bool:
    """Somebody does, at that port of the loopback device."""
    listening = "0A"  # TCP_LISTEN, in /proc/net/tcp
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return any(line[1].endswith(f":{port:04X}") and line[3] == listening for line in lines)


def test_virtcard_connect_serves_it_without_a_daemon(site: Path, port: int, tmp_path: Path) -> None:
    peer = QemuPeer(tmp_path / "vm.sock")
    words = [str(BIN / "virtcard"), "connect", f"unix://{tmp_path}/vm.sock", f"vpicc:{port}"]
    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(site)}
    )
    try:
        wait_until(lambda: listens(port), 10, "the source listens")
        with Slot(port) as client:
            client.plug(ScriptedCard())
            peer.wait_card()
            assert peer.exchange(SELECT)[-2:] in (OK, bytes([0x61, len(FCI)]))
            client.unplug()
            peer.wait_empty()
            client.plug(ScriptedCard())
            peer.wait_card()
            child.terminate()
            _, errors = child.communicate(timeout=20)
        assert child.returncode == 0, errors
        assert peer.types()[-2:] == [CARD_REMOVE, READER_REMOVE]
    finally:
        child.kill()
        child.communicate()
        peer.close()
