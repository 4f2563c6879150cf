"""The management key of the PIV applet: SP 800-73-4 part 2, 3.2.4 and appendix A.1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from helpers.piv import PivCard, new_card
from virtcard.card.soft.piv_auth import Symmetric
from virtcard.card.soft.sealing import seal_management
from virtcard.wire.apdu import ResponseApdu
from virtcard.wire.tlv import build, find

KEYS = {
    Symmetric.TDES: "0123456789ABCDEF23456789ABCDEF01456789ABCDEF0123",
    Symmetric.AES128: "000102030405060708090A0B0C0D0E0F",
    Symmetric.AES192: "000102030405060708090A0B0C0D0E0F1011121314151617",
    Symmetric.AES256: "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
}
VECTORS = {
    # SP 800-67, appendix B.1; FIPS 197, appendices C.1 to C.3
    Symmetric.TDES: ("5468652071756663", "A826FD8CE53B855F"),
    Symmetric.AES128: ("00112233445566778899AABBCCDDEEFF", "69C4E0D86A7B0430D8CDB78070B4C55A"),
    Symmetric.AES192: ("00112233445566778899AABBCCDDEEFF", "DDA97CA4864CDFE06EAF70A0EC0D7191"),
    Symmetric.AES256: ("00112233445566778899AABBCCDDEEFF", "8EA2B7CA516745BFEAFC49904B496089"),
}


class Host:
    """The other side, with the same key."""

    def __init__(self, card: PivCard, algorithm: Symmetric) -> None:
        self.card = card
        self.algorithm = algorithm
        key = bytes.fromhex(KEYS[algorithm])
        self._cipher = Cipher(TripleDES(key) if algorithm is Symmetric.TDES else AES(key), modes.ECB())
        record = seal_management(card.stored.context, algorithm, key)
        card.stored.save(card.stored.data.replace(management=record))

    def send(self, fields: str | bytes) -> ResponseApdu:
        """GENERAL AUTHENTICATE with these fields in the template."""
        content = bytes.fromhex(fields) if isinstance(fields, str) else fields
        return self.card.do(0x87, self.algorithm, 0x9B, build(0x7C, content))

    def ask(self, field: int) -> bytes:
        """The challenge or the witness that the card gives."""
        value = find(self.send(build(field)).data, 0x7C, field)
        assert value is not None
        return value

    def encrypt(self, block: bytes) -> bytes:
        return self._cipher.encryptor().update(block)

    def decrypt(self, block: bytes) -> bytes:
        return self._cipher.decryptor().update(block)

    @property
    def is_administrator(self) -> bool:
        return self.card.do(0xDB, 0x3F, 0xFF, bytes.fromhex("5C035FC1065301AA")).sw == 0x9000


@pytest.fixture(params=list(Symmetric), ids=lambda algorithm: algorithm.name)
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Host:
    return Host(new_card(tmp_path), request.param)


def test_external_authenticate(host: Host) -> None:
    challenge = host.ask(0x81)
    assert len(challenge) == (8 if host.algorithm is Symmetric.TDES else 16)
    assert host.send(build(0x82, host.encrypt(challenge))).encode() == b"\x90\x00"
    assert host.is_administrator


def test_mutual_authenticate(host: Host) -> None:
    theirs = os.urandom(8 if host.algorithm is Symmetric.TDES else 16)
    answer = host.send(build(0x80, host.decrypt(host.ask(0x80))) + build(0x81, theirs))
    assert find(answer.data, 0x7C, 0x82) == host.encrypt(theirs)
    assert host.is_administrator


def test_mutual_authenticate_may_name_the_field_that_it_wants(host: Host) -> None:
    theirs = bytes(8 if host.algorithm is Symmetric.TDES else 16)
    answer = host.send(build(0x80, host.decrypt(host.ask(0x80))) + build(0x81, theirs) + build(0x82))
    assert find(answer.data, 0x7C, 0x82) == host.encrypt(theirs)


def test_internal_authenticate_of_an_administrator(host: Host) -> None:
    plain, encrypted = VECTORS[host.algorithm]
    host.card.administrate()
    answer = host.send(f"8200 81{len(plain) // 2:02X}{plain}")
    assert find(answer.data, 0x7C, 0x82) == bytes.fromhex(encrypted)


def test_internal_authenticate_does_not_answer_our_own_challenge(host: Host) -> None:
    challenge = host.ask(0x81)
    assert host.send(build(0x82) + build(0x81, challenge)).sw == 0x6982
    assert not host.is_administrator


def test_a_wrong_answer_is_6982_and_uses_the_challenge_up(host: Host) -> None:
    challenge = host.ask(0x81)
    assert host.send(build(0x82, challenge)).sw == 0x6982
    assert host.send(build(0x82, host.encrypt(challenge))).sw == 0x6985
    assert not host.is_administrator


def test_a_wrong_witness_gets_no_answer(host: Host) -> None:
    witness = host.ask(0x80)
    theirs = bytes(len(witness))
    assert host.send(build(0x80, witness) + build(0x81, theirs)).encode() == b"\x69\x82"
    assert host.send(build(0x80, host.decrypt(witness)) + build(0x81, theirs)).sw == 0x6985
    assert not host.is_administrator


def test_a_wrong_answer_ends_an_administrator(host: Host) -> None:
    host.card.administrate()
    host.ask(0x81)
    host.send("8210" + "00" * 16)
    assert not host.is_administrator


def test_an_answer_serves_once(host: Host) -> None:
    response = build(0x82, host.encrypt(host.ask(0x81)))
    assert host.send(response).sw == 0x9000
    host.card.select()
    assert host.send(response).sw == 0x6985
    assert not host.is_administrator


def test_a_reset_forgets_a_challenge(host: Host) -> None:
    challenge = host.ask(0x81)
    host.card.select()
    assert host.send(build(0x82, host.encrypt(challenge))).sw == 0x6985


def test_a_challenge_of_another_length_is_refused(host: Host) -> None:
    assert host.send(build(0x80, host.decrypt(host.ask(0x80))) + build(0x81, b"short")).sw == 0x6A80
    host.card.administrate()
    assert host.send(build(0x82) + build(0x81, b"short")).sw == 0x6A80


@pytest.mark.parametrize("fields", ["", "8000 8000", "8500", "8200", "8100 8200", "81", "8000 8200", "4F00"])
def test_other_templates_are_6a80(host: Host, fields: str) -> None:
    assert host.send(fields).sw == 0x6A80


def test_another_algorithm_than_the_keys_is_6a86(host: Host) -> None:
    others = set(Symmetric) - {host.algorithm}
    assert {host.card.do(0x87, other, 0x9B, bytes.fromhex("7C028100")).sw for other in others} == {0x6A86}


def test_algorithm_00_asks_any_key_for_random_bytes(host: Host) -> None:
    # OpenSC, card-piv.c: piv_get_challenge
    assert host.card.do(0x87, 0, 0x9B, bytes.fromhex("7C028100")).sw == 0x9000


def test_a_card_without_management_key_is_6a88(tmp_path: Path) -> None:
    card = new_card(tmp_path)
    card.stored.save(card.stored.data.replace(management=None))
    assert card.do(0x87, 0x0A, 0x9B, bytes.fromhex("7C028100")).sw == 0x6A88
    assert card.do(0xF7, 0, 0x9B).sw == 0x6A88
