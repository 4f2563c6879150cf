"""The CAC card of the store in a guest: OpenSC and NSS there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_der_x509_certificate

from helpers import nss
from helpers.guest import Guest
from helpers.guest_cards import card_in_guest, nss_listing, pkcs11, token_test
from helpers.soft_cards import PIN_DIGITS, wanted
from virtcard.card.soft.make import create_from
from virtcard.card.soft.model import CardType
from virtcard.card.soft.nss import NICKNAMES, import_nss
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store

LOGIN = f"--login --pin {PIN_DIGITS.decode()}"
LABELS = ("CAC ID Certificate", "CAC Email Signature Certificate", "CAC Email Encryption Certificate")
SIGNING, ENCRYPTION = "0002", "0003"


@pytest.fixture(autouse=True)
def store(guest: Guest, card_socket: Path, tmp_path: Path) -> Iterator[Store]:
    """Its card has the keys of an NSS database, and is in the guest."""
    found = import_nss(str(nss.shared_database()), NICKNAMES, nss.PASSWORD)
    kept = Store(tmp_path / "cards")
    create_from(kept, wanted("cac", CardType.CAC), dict(zip(("id", "signing", "encryption"), found, strict=True)))
    card = SoftSource(kept).open("cac")
    with card_in_guest(guest, card_socket, card):
        yield kept


def public_key(number: int) -> RSAPublicKey:
    """The key of a certificate of the database."""
    key = load_der_x509_certificate(nss.certificates()[number]).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def test_the_guest_knows_a_cac_and_tests_it(guest: Guest) -> None:
    assert "Common Access Card (CAC)" in guest.run("opensc-tool --name", 60).check()
    assert "No errors" in token_test(guest, PIN_DIGITS)


def test_the_guest_signs_and_deciphers(guest: Guest) -> None:
    signature = pkcs11(guest, f"{LOGIN} --sign --mechanism SHA256-RSA-PKCS --id {SIGNING}", b"text")
    public_key(1).verify(signature, b"text", PKCS1v15(), SHA256())
    letter = public_key(2).encrypt(b"a letter", PKCS1v15())
    assert pkcs11(guest, f"{LOGIN} --decrypt --mechanism RSA-PKCS --id {ENCRYPTION}", letter) == b"a letter"


def test_nss_in_the_guest_lists_the_certificates(guest: Guest) -> None:
    listed = nss_listing(guest)
    assert [label in listed for label in LABELS] == [True] * 3, listed


def test_three_wrong_pins_in_the_guest_block_the_card(guest: Guest, store: Store) -> None:
    for left in (2, 1, 0):
        said = guest.run("pkcs11-tool --login --pin 999999 --sign --id 0001 -i /dev/null", 60)
        assert "CKR_PIN_INCORRECT" in said.output or "CKR_PIN_LOCKED" in said.output
        assert store.read("cac").pin.tries_left == left
    assert "CKR_PIN_LOCKED" in guest.run(f"pkcs11-tool {LOGIN} --list-objects", 60).output
