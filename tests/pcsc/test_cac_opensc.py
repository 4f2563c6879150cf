"""OpenSC's programs on the CAC card, through a real pcscd: its driver knows the card by its applets, not by the ATR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_der_x509_certificate

from helpers import nss
from helpers.opensc import OpenSc
from helpers.pcsc_lab import Lab
from helpers.soft_cards import PIN_DIGITS, wanted
from helpers.vpcd import CardInSlot
from virtcard.card.soft.make import create_from
from virtcard.card.soft.model import CardType
from virtcard.card.soft.nss import NICKNAMES, import_nss
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store

LOGIN = ("--login", "--pin", PIN_DIGITS.decode())
LABELS = ("CAC ID Certificate", "CAC Email Signature Certificate", "CAC Email Encryption Certificate")
IDS = ("0001", "0002", "0003")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With a card that has the keys of an NSS database."""
    found = import_nss(str(nss.shared_database()), NICKNAMES, nss.PASSWORD)
    kept = Store(tmp_path_factory.mktemp("store") / "cards")
    create_from(kept, wanted("cac", CardType.CAC), dict(zip(("id", "signing", "encryption"), found, strict=True)))
    return kept


@pytest.fixture
def tools(lab: Lab, store: Store, tmp_path: Path) -> Iterator[OpenSc]:
    card = SoftSource(store).open("cac")
    lab.plug(CardInSlot(card))
    yield OpenSc(lab.pcscd.environment, tmp_path)
    lab.unplug()
    card.power_off()


def test_opensc_calls_it_a_cac(tools: OpenSc) -> None:
    assert "Common Access Card (CAC)" in tools.run("opensc-tool", "-n")


def test_the_test_of_pkcs11_tool_finds_no_errors(tools: OpenSc) -> None:
    said = tools.run("pkcs11-tool", *LOGIN, "--test")
    assert "No errors" in said
    assert "ERR" not in said


def test_the_three_certificates_are_listed(tools: OpenSc) -> None:
    listed = tools.run("pkcs11-tool", "--list-objects", "--type", "cert")
    assert [label in listed for label in LABELS] == [True] * 3
    assert listed.count("Certificate Object") == 3


def test_the_certificates_are_those_of_the_database(tools: OpenSc, tmp_path: Path) -> None:
    for identifier, expected in zip(IDS, nss.certificates(), strict=True):
        read = ("--read-object", "--type", "cert", "--id", identifier, "--output-file", "read.der")
        tools.run("pkcs11-tool", *read)
        assert (tmp_path / "read.der").read_bytes() == expected


def test_a_signature_verifies(tools: OpenSc, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"what was signed")
    files = ("--input-file", "data", "--output-file", "signature")
    tools.run("pkcs11-tool", *LOGIN, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", IDS[1], *files)
    public = load_der_x509_certificate(nss.certificates()[1]).public_key()
    assert isinstance(public, RSAPublicKey)
    public.verify((tmp_path / "signature").read_bytes(), b"what was signed", PKCS1v15(), SHA256())


def test_a_wrong_pin_is_told_apart_and_counted(tools: OpenSc, store: Store) -> None:
    code, said = tools.attempt("pkcs11-tool", "--login", "--pin", "999999", "--sign", "--id", IDS[0], "-i", "/dev/null")
    assert code != 0
    assert "CKR_PIN_INCORRECT" in said
    assert store.read("cac").pin.tries_left == 2
    tools.run("pkcs11-tool", *LOGIN, "--list-objects")
    assert store.read("cac").pin.tries_left == 3
