"""The PIV card in a guest: OpenSC and NSS there, T=0 and short APDUs alone, as QEMU's usb-ccid carries them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from helpers.guest import Guest
from helpers.guest_cards import card_in_guest, nss_listing, pkcs11, token_test
from helpers.piv import PIN, PUK, PivCard, new_card
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.piv_objects import CHUID, tag_name

LOGIN = f"--login --pin {PIN.decode()}"
KEYS = [(0x9A, Algorithm.RSA2048), (0x9C, Algorithm.P256), (0x9D, Algorithm.RSA3072), (0x9E, Algorithm.P384)]
CURVES = [(0x9A, Algorithm.P256), (0x9D, Algorithm.P256)]
IDS = {0x9A: "01", 0x9C: "02", 0x9D: "03"}
LABELS = ("PIV Authentication", "Digital Signature", "Key Management", "Card Authentication")


@pytest.fixture
def card(guest: Guest, card_socket: Path, tmp_path: Path) -> Iterator[PivCard]:
    """With RSA keys and keys on curves."""
    made = new_card(tmp_path, algorithms=KEYS)
    with card_in_guest(guest, card_socket, made.card):
        yield made


@pytest.fixture
def curves(guest: Guest, card_socket: Path, tmp_path: Path) -> Iterator[PivCard]:
    """With keys on P-256 alone."""
    made = new_card(tmp_path, algorithms=CURVES)
    with card_in_guest(guest, card_socket, made.card):
        yield made


def public_key(guest: Guest, slot: int) -> object:
    """The key of the certificate that the guest reads."""
    guest.run(f"pkcs11-tool -r --type cert --id {IDS[slot]} -o /tmp/read.der", 60).check()
    return load_der_x509_certificate(guest.get("/tmp/read.der")).public_key()


def test_the_guest_knows_a_piv_card_and_tests_it(guest: Guest, card: PivCard) -> None:
    assert "Personal Identity Verification Card" in guest.run("opensc-tool --name", 60).check()
    assert "No errors" in token_test(guest, PIN)


def test_the_guest_tests_keys_on_p256(guest: Guest, curves: PivCard) -> None:
    assert "No errors" in token_test(guest, PIN)


def test_the_guest_signs_and_deciphers_with_rsa(guest: Guest, card: PivCard) -> None:
    signing, deciphering = public_key(guest, 0x9A), public_key(guest, 0x9D)
    assert isinstance(signing, rsa.RSAPublicKey)
    assert isinstance(deciphering, rsa.RSAPublicKey)
    signature = pkcs11(guest, f"{LOGIN} --sign --mechanism SHA256-RSA-PKCS --id {IDS[0x9A]}", b"text")
    signing.verify(signature, b"text", padding.PKCS1v15(), SHA256())
    letter = deciphering.encrypt(b"a letter", padding.PKCS1v15())
    assert pkcs11(guest, f"{LOGIN} --decrypt --mechanism RSA-PKCS --id {IDS[0x9D]}", letter) == b"a letter"


def test_the_guest_signs_and_derives_on_a_curve(guest: Guest, curves: PivCard) -> None:
    signing, deriving = public_key(guest, 0x9A), public_key(guest, 0x9D)
    assert isinstance(signing, ec.EllipticCurvePublicKey)
    assert isinstance(deriving, ec.EllipticCurvePublicKey)
    digest = bytes(range(32))
    words = f"{LOGIN} --sign --mechanism ECDSA --signature-format openssl --id {IDS[0x9A]}"
    signing.verify(pkcs11(guest, words, digest), digest, ec.ECDSA(Prehashed(SHA256())))
    peer = ec.generate_private_key(ec.SECP256R1())
    point = peer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    words = f"{LOGIN} --derive --mechanism ECDH1-COFACTOR-DERIVE --id {IDS[0x9D]}"
    assert pkcs11(guest, words, point) == peer.exchange(ec.ECDH(), deriving)


def test_nss_in_the_guest_lists_the_certificates(guest: Guest, card: PivCard) -> None:
    listed = nss_listing(guest)
    assert [label in listed for label in LABELS] == [True] * 4, listed


def test_piv_tool_in_the_guest_reads_the_guid_of_the_chuid(guest: Guest, card: PivCard) -> None:
    content = card.stored.data.objects[tag_name(CHUID)]
    guid = content[content.index(b"\x34\x10") + 2 :][:16]
    assert guid.hex(" ").upper() in guest.run("piv-tool --serial", 60).check().upper()


def test_the_guest_blocks_the_pin_and_unblocks_it(guest: Guest, card: PivCard) -> None:
    for _ in range(3):
        said = guest.run("pkcs11-tool --login --pin 999999 --list-objects", 60)
        assert "CKR_PIN_INCORRECT" in said.output
    assert card.pins.pin_tries_left == 0
    reset = f"00:2C:00:80:10:{PUK.hex(':')}:{PIN.hex(':')}:FF:FF"
    assert "SW1=0x90" in guest.run(f"piv-tool --send-apdu {reset}", 60).check()
    assert "PIV AUTH key" in guest.run(f"pkcs11-tool {LOGIN} --list-objects", 60).check()
