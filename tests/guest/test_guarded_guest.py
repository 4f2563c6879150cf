"""Cards behind the guard in a guest: everyday use goes on as if it was not there, and administration does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from helpers import nss
from helpers.dressed import Noted, dressed
from helpers.guest import Guest
from helpers.guest_cards import card_in_guest, pkcs11, token_test
from helpers.piv import PIN, PivCard, new_card
from helpers.soft_cards import PIN_DIGITS, wanted
from virtcard.card.soft.make import create_from
from virtcard.card.soft.model import Algorithm, CardType
from virtcard.card.soft.nss import NICKNAMES, import_nss
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store

RULE = '[[rule]]\naction = "allow"\n'
LOGIN = f"--login --pin {PIN.decode()}"
KEYS = [(0x9A, Algorithm.RSA2048), (0x9C, Algorithm.RSA2048), (0x9D, Algorithm.RSA2048)]
CHANGES = {0x24, 0x2C, 0x47, 0xDB, 0xFA, 0xFB, 0xFE, 0xFF}

pytestmark = pytest.mark.parametrize("usb", ["xhci"], indirect=True, scope="session")


@pytest.fixture
def piv(tmp_path: Path) -> PivCard:
    return new_card(tmp_path, algorithms=KEYS)


def test_a_guest_uses_its_piv_card_and_changes_nothing(guest: Guest, card_socket: Path, piv: PivCard) -> None:
    noted, before = Noted(piv.card), piv.stored.data
    public = load_der_public_key(before.keys[1].public)
    assert isinstance(public, rsa.RSAPublicKey)
    with card_in_guest(guest, card_socket, dressed(noted, RULE).card):
        assert "No errors" in token_test(guest, PIN)
        signature = pkcs11(guest, f"{LOGIN} --sign --mechanism SHA256-RSA-PKCS --id 02", b"text")
        public.verify(signature, b"text", padding.PKCS1v15(), SHA256())
        assert guest.run(f"pkcs11-tool --change-pin --pin {PIN.decode()} --new-pin 654321", 60).exit_code != 0
        assert (
            guest.transmit(bytes.fromhex("00A4040005A000000308"), bytes.fromhex("0047009A05AC03800111"))[1] == b"\x6d\0"
        )
    assert not noted.instructions & CHANGES
    assert piv.stored.data == before


def test_a_guest_that_may_read_gets_certificates_alone(guest: Guest, card_socket: Path, piv: PivCard) -> None:
    noted = Noted(piv.card)
    with card_in_guest(guest, card_socket, dressed(noted, f'{RULE}commands = "read"\n').card):
        listed = guest.run("pkcs11-tool --list-objects --type cert", 60).check()
        assert listed.count("Certificate Object") == 3
        assert guest.run(f"pkcs11-tool {LOGIN} --list-objects", 60).exit_code != 0
    assert not [command for command in noted.commands if command[1] == 0x20 and len(command) > 5]
    assert piv.pins.pin_tries_left == 3


def test_a_guest_uses_its_cac(guest: Guest, card_socket: Path, tmp_path: Path) -> None:
    store, found = Store(tmp_path), import_nss(str(nss.shared_database()), NICKNAMES, nss.PASSWORD)
    create_from(store, wanted("cac", CardType.CAC), dict(zip(("id", "signing", "encryption"), found, strict=True)))
    with card_in_guest(guest, card_socket, dressed(SoftSource(store).open("cac"), RULE).card):
        assert "Common Access Card (CAC)" in guest.run("opensc-tool --name", 60).check()
        assert "No errors" in token_test(guest, PIN_DIGITS)


def test_a_guest_that_guesses_leaves_the_last_try(guest: Guest, card_socket: Path, piv: PivCard) -> None:
    with card_in_guest(guest, card_socket, dressed(piv.card, RULE).card):
        for _ in range(5):
            assert guest.run("pkcs11-tool --login --pin 999999 --list-objects", 60).exit_code != 0
        assert "CKR_PIN_LOCKED" in guest.run(f"pkcs11-tool {LOGIN} --list-objects", 60).output
    assert piv.pins.pin_tries_left == 1
