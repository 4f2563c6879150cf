"""ykman, the command line above yubikit, on the PIV card: what people type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_csr

from helpers.pcsc_lab import Lab
from helpers.pcscd import READERS
from helpers.piv import MANAGEMENT_KEY, PIN, PivCard, new_card
from helpers.vpcd import CardInSlot
from virtcard.card.soft.model import Algorithm

KEY = ("--management-key", MANAGEMENT_KEY.hex())
WITH_PIN = ("--pin", PIN.decode())


class Ykman:
    """`ykman --reader READER piv`, with files of its own."""

    def __init__(self, lab: Lab, card: PivCard, folder: Path) -> None:
        lab.plug(CardInSlot(card.card))
        self.card = card
        self.folder = folder
        self._environment = {**lab.pcscd.environment, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}

    def __call__(self, *command: str) -> str:
        """What it says; it must end well."""
        program = str(Path(sys.executable).parent / "ykman")
        ended = subprocess.run(
            [program, "--reader", READERS[0], "piv", *command],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture
def ykman(lab: Lab, tmp_path: Path) -> Ykman:
    card = new_card(tmp_path / "cards", algorithms=[(0x9A, Algorithm.P256), (0x9C, Algorithm.RSA2048)])
    return Ykman(lab, card, tmp_path)


def test_info_shows_the_card(ykman: Ykman) -> None:
    said = ykman("info")
    assert "PIN tries remaining:      3/3" in said
    assert "Private key type: ECCP256" in said
    assert "CN=Card Holder 9C" in said


def test_a_key_its_certificate_and_a_request_are_made(ykman: Ykman) -> None:
    ykman("keys", "generate", *KEY, "--algorithm", "ECCP384", "9d", "public.pem")
    ykman("certificates", "generate", *KEY, *WITH_PIN, "--subject", "CN=Somebody", "9d", "public.pem")
    ykman("certificates", "export", "9d", "certificate.pem")
    certificate = load_pem_x509_certificate((ykman.folder / "certificate.pem").read_bytes())
    certificate.verify_directly_issued_by(certificate)
    ykman("certificates", "request", *WITH_PIN, "--subject", "CN=Somebody", "9d", "public.pem", "request.pem")
    assert load_pem_x509_csr((ykman.folder / "request.pem").read_bytes()).is_signature_valid


def test_a_management_key_is_kept_behind_the_pin(ykman: Ykman) -> None:
    # Kept in the printed information object, which needs the PIN.
    ykman("access", "change-management-key", *KEY, *WITH_PIN, "--algorithm", "AES256", "--generate", "--protect")
    ykman("objects", "generate", *WITH_PIN, "CHUID")
    ykman("keys", "generate", *WITH_PIN, "--algorithm", "RSA3072", "82", "public.pem")
    assert "RSA3072" in ykman("keys", "info", "82")


def test_reset_gives_a_new_card(ykman: Ykman) -> None:
    ykman("reset", "--force")
    assert ykman.card.stored.data.keys == ()
    assert "Using default Management key" in ykman("info")
