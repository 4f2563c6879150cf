"""A PIV card in a guest over SPICE: over TCP with a ticket, TLS and a unix socket, alone and beside a real viewer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_der_x509_certificate

from helpers.cable import Cable
from helpers.guest import agent_path
from helpers.guest_cards import pkcs11
from helpers.machines import QemuGuest, Usb, qemu_guest
from helpers.piv import PIN, new_card
from helpers.spice import SpiceHost, Way, viewer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge, BridgeState
from virtcard.card.base import Card, CardListener, Transmission
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.limits import GUEST_PATIENCE

LOGIN = f"--login --pin {PIN.decode()}"
SIGN = f"{LOGIN} --sign --mechanism SHA256-RSA-PKCS --id 01"
BYE = 10.0


@dataclass(frozen=True)
class Machine:
    host: SpiceHost
    guest: QemuGuest


@contextmanager
def machine(usb: Usb, *, unix: bool = False) -> Iterator[Machine]:
    with TemporaryDirectory(prefix="vc-") as folder:
        host = SpiceHost.make(Path(folder))
        with qemu_guest(Path(folder), usb, host.arguments(unix=unix)) as guest:
            guest.wait_for_readers(1)
            yield Machine(host, guest)


@pytest.fixture(scope="module")
def lan() -> Iterator[Machine]:
    """A guest whose SPICE server is on TCP and TLS: leave its reader empty."""
    with machine("xhci") as made:
        yield made


@pytest.fixture(scope="module")
def local() -> Iterator[Machine]:
    """A guest whose SPICE server is on a unix socket."""
    with machine("uhci", unix=True) as made:
        yield made


@pytest.fixture
def piv(tmp_path: Path) -> Card:
    """As `card:piv`, which may be taken out and put in again."""
    new_card(tmp_path, algorithms=[(0x9A, Algorithm.RSA2048)]).card.power_off()
    return SoftSource(Store(tmp_path)).open("piv")


@contextmanager
def card_over_spice(made: Machine, card: Card, way: Way = "tcp", endpoint: Endpoint | None = None) -> Iterator[Bridge]:
    """The card is in the guest's reader, which is empty again afterwards."""
    bridge = Bridge(endpoint or made.host.endpoint(way), lambda status: None, spice=made.host.settings())
    bridge.start()
    bridge.insert(card)
    try:
        made.guest.wait_reader_state("present")
        yield bridge
    finally:
        bridge.stop()
        ended = bridge.join(BYE)
    assert ended
    made.guest.wait_reader_state("empty")


def sign(guest: QemuGuest) -> None:
    """The guest logs in and signs; the signature verifies with the certificate that it reads."""
    guest.run("pkcs11-tool -r --type cert --id 01 -o /tmp/read.der", 60).check()
    public = load_der_x509_certificate(guest.get("/tmp/read.der")).public_key()
    assert isinstance(public, RSAPublicKey)
    public.verify(pkcs11(guest, SIGN, b"text"), b"text", PKCS1v15(), SHA256())


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_the_guest_logs_in_and_signs(lan: Machine, piv: Card, way: Way) -> None:
    with card_over_spice(lan, piv, way):
        assert "Personal Identity Verification Card" in lan.guest.run("opensc-tool --name", 60).check()
        sign(lan.guest)


def test_the_guest_logs_in_and_signs_over_a_unix_socket(local: Machine, piv: Card) -> None:
    with card_over_spice(local, piv, "unix"):
        sign(local.guest)


def test_a_viewer_stays_while_the_guest_signs_and_after(lan: Machine, piv: Card) -> None:
    with viewer(lan.host, "spicy") as number:
        with card_over_spice(lan, piv):
            sign(lan.guest)
            (session,) = lan.host.sessions()
            assert session.connection_id == number
            assert session.has_card
        assert [session.connection_id for session in lan.host.sessions()] == [number]


def test_a_viewer_comes_and_goes_and_the_guest_signs_in_between(lan: Machine, piv: Card) -> None:
    with card_over_spice(lan, piv) as bridge:
        sign(lan.guest)
        with viewer(lan.host, "remote-viewer") as number:
            wait_in(lan, bridge, lambda: lan.host.sessions()[0].has_card)
            sign(lan.guest)
            assert [session.connection_id for session in lan.host.sessions()] == [number]
        wait_in(lan, bridge, lambda: lan.host.sessions() and lan.host.sessions()[0].connection_id != number)
        sign(lan.guest)


def wait_in(made: Machine, bridge: Bridge, condition: Callable[[], object]) -> None:
    """The guest has the card again, as `condition` wants it."""
    made.host.wait_sessions(lambda _sessions: condition() and bridge.status.state is BridgeState.INSERTED, "the card")
    made.guest.wait_reader_state("present")


class Gate:
    """A card around a card, whose commands wait while `open` is not set."""

    def __init__(self, card: Card) -> None:
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        self._card = card

    @property
    def transmission(self) -> Transmission:
        return self._card.transmission

    def power_on(self) -> bytes:
        return self._card.power_on()

    def transmit(self, command: bytes) -> bytes:
        if not self.open.is_set():
            self.waiting.set()
            assert self.open.wait(60)
        return self._card.transmit(command)

    def reset(self) -> bytes:
        return self._card.reset()

    def power_off(self) -> None:
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        self._card.listen(listener)


def test_a_link_that_is_cut_within_a_command_costs_that_command_and_no_more(lan: Machine, piv: Card) -> None:
    gate, cable = Gate(piv), Cable(lan.host.port)
    endpoint = replace(lan.host.endpoint("tcp"), port=cable.port)
    with card_over_spice(lan, gate, endpoint=endpoint) as bridge:
        sign(lan.guest)
        gate.open.clear()
        lan.guest.run("pkcs11-tool --list-objects > /tmp/said 2>&1 &")
        assert gate.waiting.wait(20)
        cable.cut()
        gate.open.set()
        begin = time.monotonic()
        wait_in(lan, bridge, lambda: True)
        lan.guest.run("wait; true")
        while lan.guest.run("pgrep pkcs11-tool").exit_code == 0:
            assert time.monotonic() - begin < GUEST_PATIENCE + 20, "the guest's program hangs"
            time.sleep(0.2)
        sign(lan.guest)
    cable.close()


def test_qemu_goes_away_and_the_next_one_gets_the_card(piv: Card) -> None:
    with TemporaryDirectory(prefix="vc-") as folder:
        host = SpiceHost.make(Path(folder))
        bridge = Bridge(host.endpoint("tcp"), lambda status: None, spice=host.settings())
        bridge.start()
        bridge.insert(piv)
        try:
            for _ in range(2):
                agent_path(Path(folder), host.name).unlink(missing_ok=True)  # the last QEMU's, at which nobody listens
                with qemu_guest(Path(folder), "xhci", host.arguments()) as guest:
                    guest.wait_reader_state("present", timeout=60)
                    sign(guest)
        finally:
            bridge.stop()
            assert bridge.join(BYE)
