"""What OpenSC's everyday work with a PIV card asks a person for, through a real pcscd, when no yes is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from helpers.dressed import dressed
from helpers.opensc import OpenSc
from helpers.pcsc_lab import Lab
from helpers.piv import PIN, new_card
from helpers.vpcd import CardInSlot
from virtcard.card.soft.model import Algorithm
from virtcard.policy.model import AskFor
from virtcard.service.wardrobe import Fitting, Wardrobe

ASK = """[[rule]]
card = "card:*"
action = "ask"
ask-for = ["pin", "sign", "decrypt"]
remember = "no"
"""
SIGN = ("--sign", "--mechanism", "SHA256-RSA-PKCS", "--input-file", "text", "--output-file", "made")
LOGIN = ("--login", "--pin", PIN.decode())
RSA_KEYS = [(slot, Algorithm.RSA2048) for slot in (0x9A, 0x9C, 0x9D)]


class Office(OpenSc):
    """OpenSC beside a card whose person says yes each time."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        super().__init__(lab.pcscd.environment, folder)
        self.asked: list[AskFor] = []
        self._card = new_card(folder / "cards", algorithms=RSA_KEYS)
        lab.plug(CardInSlot(dressed(self._card.card, ASK, wardrobe=Wardrobe(self._yes)).card))
        self.file("text", b"text")

    def pkcs11(self, *words: str) -> list[AskFor]:
        """What one run of pkcs11-tool asks for."""
        self.asked.clear()
        self.run("pkcs11-tool", *words)
        return self.asked

    def letter(self, content: bytes) -> bytes:
        """Only the card's key management key can read it."""
        record = self._card.stored.data.key(0x9D)
        assert record is not None
        key = load_der_public_key(record.public)
        assert isinstance(key, rsa.RSAPublicKey)
        return key.encrypt(content, padding.PKCS1v15())

    def _yes(self, _fitting: Fitting, operation: AskFor) -> bool:
        self.asked.append(operation)
        return True


@pytest.fixture
def office(lab: Lab, tmp_path: Path) -> Office:
    return Office(lab, tmp_path)


def test_reading_asks_for_nothing(office: Office) -> None:
    assert office.pkcs11("--list-objects") == []


def test_a_login_asks_for_the_pin(office: Office) -> None:
    assert office.pkcs11(*LOGIN, "--list-objects") == [AskFor.PIN]


def test_a_login_and_a_signature_are_two_questions_every_time(office: Office) -> None:
    for _ in range(2):
        assert office.pkcs11(*LOGIN, "--id", "01", *SIGN) == [AskFor.PIN, AskFor.SIGN]


def test_the_key_that_wants_the_pin_before_each_signature_makes_it_three(office: Office) -> None:
    assert office.pkcs11(*LOGIN, "--id", "02", *SIGN) == [AskFor.PIN, AskFor.PIN, AskFor.SIGN]


def test_a_letter_that_is_read_is_a_decipherment(office: Office) -> None:
    office.file("text", office.letter(b"to jane"))
    words = ("--decrypt", "--mechanism", "RSA-PKCS", "--input-file", "text", "--output-file", "made")
    assert office.pkcs11(*LOGIN, "--id", "03", *words) == [AskFor.PIN, AskFor.DECRYPT]
    assert (office.folder / "made").read_bytes() == b"to jane"
