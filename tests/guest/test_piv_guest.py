"""The PIV card in a guest: OpenSC there, T=0 and short APDUs alone, as QEMU's usb-ccid carries them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.guest import Guest
from helpers.piv import PIN, PUK, PivCard, new_card
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.soft.model import Algorithm

BYE = 10.0
LOGIN = f"--login --pin {PIN.decode()}"
LEGACY = b"""openssl_conf = main
[main]
providers = list
[list]
default = on
legacy = on
[on]
activate = 1
"""
"""RIPEMD-160, which `pkcs11-tool --test` wants, is in OpenSSL's legacy provider."""
KEYS = [(0x9A, Algorithm.RSA2048), (0x9C, Algorithm.P256), (0x9D, Algorithm.RSA3072), (0x9E, Algorithm.P384)]


@pytest.fixture
def card(guest: Guest, card_socket: Path, tmp_path: Path) -> Iterator[PivCard]:
    """In the guest's reader, which is empty again afterwards."""
    bridge = Bridge(Endpoint.unix(str(card_socket)), lambda status: None)
    bridge.start()
    made = new_card(tmp_path, algorithms=KEYS)
    bridge.insert(made.card)
    guest.wait_reader_state("present")
    yield made
    bridge.stop()
    assert bridge.join(BYE)
    guest.wait_reader_state("empty")


def test_the_guest_knows_a_piv_card_and_tests_it(guest: Guest, card: PivCard) -> None:
    assert "Personal Identity Verification Card" in guest.run("opensc-tool --name", 60).check()
    guest.put("/tmp/legacy.cnf", LEGACY)
    tested = guest.run(f"OPENSSL_CONF=/tmp/legacy.cnf pkcs11-tool {LOGIN} --test", 120)
    assert "No errors" in tested.check()


def test_the_guest_blocks_the_pin_and_unblocks_it(guest: Guest, card: PivCard) -> None:
    for _ in range(3):
        said = guest.run("pkcs11-tool --login --pin 999999 --list-objects", 60)
        assert "CKR_PIN_INCORRECT" in said.output
    assert card.pins.pin_tries_left == 0
    reset = f"00:2C:00:80:10:{PUK.hex(':')}:{PIN.hex(':')}:FF:FF"
    assert "SW1=0x90" in guest.run(f"piv-tool --send-apdu {reset}", 60).check()
    assert "PIV AUTH key" in guest.run(f"pkcs11-tool {LOGIN} --list-objects", 60).check()
