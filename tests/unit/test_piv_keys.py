"""Private keys of the PIV applet: used, made, put in, moved; and what Yubico's instructions tell of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from helpers.piv import MANAGEMENT_KEY, PIN, PUK, PivCard, block, new_card
from helpers.soft_crashes import Crash, stopping_at
from virtcard.card.soft import keys
from virtcard.card.soft.model import Algorithm, PinPolicy
from virtcard.card.soft.piv_session import ALGORITHMS, KEY_SLOTS
from virtcard.card.soft.store import Store
from virtcard.wire.tlv import build, find

NUMBERS = {algorithm: number for number, algorithm in ALGORITHMS.items()}
P256, P384, RSA2048, RSA3072, RSA4096 = 0x11, 0x14, 0x07, 0x05, 0x16


@pytest.fixture
def card(tmp_path: Path) -> PivCard:
    return new_card(tmp_path)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def rsa_numbers(key: rsa.RSAPrivateKey) -> bytes:
    numbers = key.private_numbers()
    fields = (numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    return b"".join(build(tag, number.to_bytes(128)) for tag, number in enumerate(fields, 1))


def signature_block(digest_info: bytes, size: int = 256) -> bytes:
    """PKCS #1 v1.5 (RFC 8017, 9.2)."""
    return b"\0\1" + b"\xff" * (size - 3 - len(digest_info)) + b"\0" + digest_info


def generated(card: PivCard, slot: int, algorithm: int, more: bytes = b"") -> bytes:
    answer = card.do(0x47, 0, slot, build(0xAC, build(0x80, bytes((algorithm,))) + more))
    assert answer.sw == 0x9000
    return answer.data


def test_the_algorithm_identifiers_are_those_of_the_standard() -> None:
    # SP 800-78-4, table 6-2; SP 800-78-5 (05); Yubico's 5.7 (16)
    assert NUMBERS[Algorithm.RSA2048] == 0x07
    assert NUMBERS[Algorithm.P256] == 0x11
    assert NUMBERS[Algorithm.P384] == 0x14
    assert (NUMBERS[Algorithm.RSA3072], NUMBERS[Algorithm.RSA4096]) == (0x05, 0x16)


def test_an_rsa_key_signs_a_padded_digest(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.put_key(0x9A, rsa_key)
    card.verify()
    prefix = bytes.fromhex("3031300D060960864801650304020105000420")  # RFC 8017, 9.2, note 1: SHA-256
    answer = card.use(0x9A, RSA2048, signature_block(prefix + bytes(32)))
    signature = find(answer.data, 0x7C, 0x82) or b""
    rsa_key.public_key().verify(signature, bytes(32), padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))


def test_an_rsa_key_deciphers(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.put_key(0x9D, rsa_key)
    card.verify()
    answer = card.use(0x9D, RSA2048, rsa_key.public_key().encrypt(b"secret", padding.PKCS1v15()))
    plain = find(answer.data, 0x7C, 0x82) or b""
    assert plain[:2] == b"\0\2"
    assert plain.endswith(b"\0secret")


def test_an_rsa_block_of_another_size_is_6a80(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.put_key(0x9A, rsa_key)
    card.verify()
    for size in (0, 1, 255, 257):
        assert card.use(0x9A, RSA2048, bytes(size)).sw == 0x6A80
    assert card.use(0x9A, RSA2048, b"\xff" * 256).sw == 0x6A80


def test_a_block_comes_by_a_chain_and_the_signature_in_parts(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.put_key(0x9A, rsa_key)
    card.verify()
    data = build(0x7C, build(0x82) + build(0x81, signature_block(b"hello")))
    assert card.card.transmit(b"\x10\x87\x07\x9a\xff" + data[:255]) == b"\x90\x00"
    rest = data[255:]
    first = card.card.transmit(b"\x00\x87\x07\x9a" + bytes((len(rest),)) + rest)
    assert first == b"\x61\x00"
    first = card.card.transmit(bytes.fromhex("00C0000000"))
    assert (len(first), first[-2:]) == (258, b"\x61\x08")
    second = card.card.transmit(bytes.fromhex("00C0000008"))
    signature = (first[:-2] + second[:-2])[8:]
    assert pow(int.from_bytes(signature), 65537, rsa_key.private_numbers().public_numbers.n) == int.from_bytes(
        signature_block(b"hello")
    )


@pytest.mark.parametrize(("algorithm", "hashed"), [(P256, hashes.SHA256()), (P384, hashes.SHA384())])
def test_a_curve_signs_a_digest(card: PivCard, algorithm: int, hashed: hashes.HashAlgorithm) -> None:
    key = keys.generate(ALGORITHMS[algorithm])
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    card.put_key(0x9A, key)
    card.verify()
    digest = bytes(range(1, hashed.digest_size + 1))
    signature = find(card.use(0x9A, algorithm, digest).data, 0x7C, 0x82) or b""
    key.public_key().verify(signature, digest, ec.ECDSA(utils.Prehashed(hashed)))
    assert card.use(0x9A, algorithm, b"").sw == 0x6A80
    assert card.use(0x9A, algorithm, digest + b"\0").sw == 0x6A80


def test_key_agreement_gives_the_vector_of_nist(card: PivCard) -> None:
    # CAVP, KAS_ECC_CDH_PrimitiveTest.txt, P-256, COUNT = 0
    scalar = "7D7DC5F71EB29DDAF80D6214632EEAE03D9058AF1FB6D22ED80BADB62BC1A534"
    x = "700C48F77F56584C5CC632CA65640DB91B6BACCE3A4DF6B42CE7CC838833D287"
    y = "DB71E509E3FD9B060DDB20BA5C51DCC5948D46FBF640DFE0441782CAB85FA4AC"
    shared = "46FC62106420FF012E54A434FBDD2D25CCC5852060561E68040DD7778997BD7B"
    card.administrate()
    assert card.do(0xFE, P256, 0x9D, build(0x06, bytes.fromhex(scalar))).sw == 0x9000
    card.verify()
    answer = card.use(0x9D, P256, bytes.fromhex("04" + x + y), tag=0x85)
    assert find(answer.data, 0x7C, 0x82) == bytes.fromhex(shared)


def test_a_point_off_the_curve_is_6a80(card: PivCard) -> None:
    card.put_key(0x9D, keys.generate(Algorithm.P256))
    card.verify()
    for point in (b"", b"\0", b"\4" + bytes(64), b"\2" + bytes(32), b"\4" + b"\xff" * 64, b"\4" + bytes(96)):
        assert card.use(0x9D, P256, point, tag=0x85).sw == 0x6A80


def test_an_rsa_key_does_not_agree(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.put_key(0x9D, rsa_key)
    card.verify()
    assert card.use(0x9D, RSA2048, bytes(256), tag=0x85).sw == 0x6A80


def test_what_is_not_there_or_does_not_fit_is_refused(card: PivCard) -> None:
    card.put_key(0x9A, keys.generate(Algorithm.P256))
    card.verify()
    assert card.use(0x9C, P256, bytes(32)).sw == 0x6A88
    for slot, algorithm in ((0x9A, P384), (0x9A, 0x06), (0x80, P256), (0x96, P256), (0xF9, P256), (0x04, P256)):
        assert card.use(slot, algorithm, bytes(32)).sw == 0x6A86


@pytest.mark.parametrize("slot", [0x9A, 0x9D, 0x82, 0x95])
def test_most_keys_want_the_pin_once(card: PivCard, slot: int) -> None:
    # SP 800-73-4 part 1, table 4b
    card.put_key(slot, keys.generate(Algorithm.P256))
    assert card.use(slot, P256, bytes(32)).sw == 0x6982
    card.verify()
    assert [card.use(slot, P256, bytes(32)).sw for _ in range(2)] == [0x9000, 0x9000]


def test_the_signature_key_wants_the_pin_right_before_each_use(card: PivCard) -> None:
    card.put_key(0x9C, keys.generate(Algorithm.P256))
    card.verify()
    assert [card.use(0x9C, P256, bytes(32)).sw for _ in range(2)] == [0x9000, 0x6982]
    card.verify()
    card.do(0xCB, 0x3F, 0xFF, b"\x5c\x01\x7e")
    assert card.use(0x9C, P256, bytes(32)).sw == 0x6982
    card.verify(b"654321")
    assert card.use(0x9C, P256, bytes(32)).sw == 0x6982


def test_the_card_authentication_key_wants_no_pin(card: PivCard) -> None:
    card.put_key(0x9E, keys.generate(Algorithm.P256))
    assert card.use(0x9E, P256, bytes(32)).sw == 0x9000


@pytest.mark.parametrize("algorithm", [P256, P384, RSA2048, RSA3072])
def test_a_key_is_made_and_shows_its_public_half(card: PivCard, algorithm: int) -> None:
    # SP 800-73-4 part 2, 3.3.1 and table 11
    card.administrate()
    public = generated(card, 0x9A, algorithm)
    record = card.stored.data.key(0x9A)
    assert record is not None
    assert record.algorithm is ALGORITHMS[algorithm]
    if record.algorithm.is_rsa:
        assert find(public, 0x7F49, 0x82) == b"\1\0\1"
        assert len(find(public, 0x7F49, 0x81) or b"") == int(record.algorithm.removeprefix("rsa")) // 8
    else:
        assert (find(public, 0x7F49, 0x86) or b"")[:1] == b"\4"


def test_making_and_importing_need_the_management_key(card: PivCard) -> None:
    assert card.do(0x47, 0, 0x9A, bytes.fromhex("AC03800111")).sw == 0x6982
    assert card.do(0xFE, P256, 0x9A, build(6, bytes(31) + b"\1")).sw == 0x6982
    for ins, p1, p2 in ((0xF6, 0xFF, 0x9A), (0xFA, 3, 3)):
        assert card.do(ins, p1, p2).sw == 0x6982
    assert card.do(0xFF, 0xFF, 0xFF, b"\x0a\x9b\x18" + bytes(24)).sw == 0x6982


def test_the_slots_are_those_of_the_standard(card: PivCard) -> None:
    card.administrate()
    refused = [slot for slot in range(256) if card.do(0x47, 0, slot, b"").sw == 0x6A86]
    assert sorted(set(range(256)) - set(refused)) == sorted(KEY_SLOTS)
    assert len(KEY_SLOTS) == 24


@pytest.mark.parametrize("data", ["", "AC00", "AC03800106", "AC038001E0", "AC06800111AA0104", "AC06800111AB0102", "AC"])
def test_a_key_that_cannot_be_made_is_6a80(card: PivCard, data: str) -> None:
    card.administrate()
    assert card.do(0x47, 0, 0x9A, bytes.fromhex(data)).sw == 0x6A80
    assert card.stored.data.key(0x9A) is None


@pytest.mark.parametrize(("number", "policy"), [(1, PinPolicy.NEVER), (2, PinPolicy.ONCE), (3, PinPolicy.ALWAYS)])
def test_a_pin_policy_can_be_chosen(card: PivCard, number: int, policy: PinPolicy) -> None:
    card.administrate()
    generated(card, 0x9A, P256, build(0xAA, bytes((number,))))
    record = card.stored.data.key(0x9A)
    assert record is not None
    assert record.pin_policy is policy
    assert card.do(0xF7, 0, 0x9A).data[3:7] == bytes((2, 2, number, 1))


def test_an_rsa_key_is_imported(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.administrate()
    assert card.do(0xFE, RSA2048, 0x9A, rsa_numbers(rsa_key)).sw == 0x9000
    metadata = card.do(0xF7, 0, 0x9A).data
    modulus = rsa_key.private_numbers().public_numbers.n.to_bytes(256)
    assert metadata == bytes.fromhex("010107 02020201 030102") + build(4, build(0x81, modulus) + build(0x82, b"\1\0\1"))


def test_numbers_that_are_no_key_are_not_imported(card: PivCard, rsa_key: rsa.RSAPrivateKey) -> None:
    card.administrate()
    good = rsa_numbers(rsa_key)
    bad_rsa = [b"", good[:131], good[:-1] + bytes((good[-1] ^ 1,)), build(1, b"\0") * 5, good + good[:131], bytes(655)]
    for data in (*bad_rsa, b"".join(build(tag, b"") for tag in range(1, 6))):
        assert card.do(0xFE, RSA2048, 0x9A, data).sw == 0x6A80
    assert card.do(0xFE, RSA3072, 0x9A, good).sw == 0x6A80
    for scalar in (b"", bytes(32), b"\xff" * 32, b"\1", bytes(33)):
        assert card.do(0xFE, P256, 0x9A, build(6, scalar)).sw == 0x6A80
    assert card.do(0xFE, 0x06, 0x9A, good).sw == 0x6A86
    assert card.stored.data.key(0x9A) is None


def test_a_huge_number_is_refused_before_it_is_looked_at(card: PivCard) -> None:
    card.administrate()
    huge = b"".join(build(tag, b"\xff" * 13_000) for tag in range(1, 6))
    begun = time.monotonic()
    assert card.do(0xFE, RSA2048, 0x9A, huge).sw == 0x6A80
    assert time.monotonic() - begun < 1


def test_a_key_is_moved_with_its_policy(card: PivCard) -> None:
    card.administrate()
    generated(card, 0x9C, P256)
    assert card.do(0xF6, 0x82, 0x9C).sw == 0x6982  # it is sealed to its slot, and the PIN opens it
    card.verify()
    assert card.do(0xF6, 0x82, 0x9C).sw == 0x9000
    assert card.do(0xF7, 0, 0x9C).sw == 0x6A88
    card.verify()
    assert card.use(0x82, P256, bytes(32)).sw == 0x9000
    assert card.use(0x82, P256, bytes(32)).sw == 0x6982


def test_moves_that_make_no_sense_are_refused(card: PivCard) -> None:
    card.administrate()
    generated(card, 0x9E, P256)
    generated(card, 0x9D, P256)
    assert card.do(0xF6, 0x9D, 0x9E).sw == 0x6985
    assert card.do(0xF6, 0x82, 0x9A).sw == 0x6A88
    assert card.do(0xF6, 0x80, 0x9E).sw == 0x6A86
    assert card.do(0xF6, 0xFF, 0xF9).sw == 0x6A86
    assert card.do(0xF6, 0x82, 0x9E).sw == 0x9000


def test_a_key_is_deleted_for_good(card: PivCard) -> None:
    card.administrate()
    generated(card, 0x9A, P256)
    assert card.do(0xF6, 0xFF, 0x9A).sw == 0x9000
    assert card.stored.data.keys == ()
    assert card.do(0xF6, 0xFF, 0x9A).sw == 0x6A88


def test_version_and_serial(card: PivCard) -> None:
    assert card.do(0xFD).data == bytes((5, 7, 0))
    assert card.do(0xF8).data == card.stored.data.serial.to_bytes(4)
    assert (card.do(0xFD, 1).sw, card.do(0xF8, 0, 1).sw) == (0x6A86, 0x6A86)


def test_metadata_of_pin_puk_and_management_key(card: PivCard) -> None:
    card.verify(b"654321")
    assert card.do(0xF7, 0, 0x80).data == bytes.fromhex("050100 06020302")
    assert card.do(0xF7, 0, 0x81).data == bytes.fromhex("050100 06020303")
    assert card.do(0xF7, 0, 0x9B).data == bytes.fromhex("01010A 050100 02020001")
    assert card.do(0xF7, 0, 0x96).sw == 0x6A88
    assert card.do(0xF7, 1, 0x80).sw == 0x6A86


@pytest.mark.parametrize("data", ["", "0A", "0A9B00", "0A9B01AA", "0A8018" + "00" * 24, "019B18" + "00" * 24])
def test_a_management_key_of_another_form_is_6a80(card: PivCard, data: str) -> None:
    before = card.administrate().stored.data.management
    assert card.do(0xFF, 0xFF, 0xFF, bytes.fromhex(data)).sw == 0x6A80
    assert card.do(0xFF, 0xFF, 0xFE, b"\x0a\x9b\x18" + MANAGEMENT_KEY).sw == 0x6A86
    assert card.stored.data.management == before


def test_setting_tries_needs_pin_and_management_key(card: PivCard) -> None:
    card.administrate()
    assert card.do(0xFA, 5, 6).sw == 0x6982
    card.verify()
    assert card.do(0xFA, 0, 6).sw == 0x6A86
    assert card.do(0xFA, 5, 6).sw == 0x9000
    assert card.do(0xF7, 0, 0x80).data[3:] == bytes.fromhex("06020505")
    assert card.do(0x2C, 0, 0x80, b"12345678" + block(b"111111")).sw == 0x9000


def blocked(card: PivCard) -> None:
    """With a key, and neither PIN nor PUK to use it."""
    card.administrate()
    generated(card, 0x9A, P256)
    for _ in range(3):
        card.verify(b"654321")
    assert card.do(0xFB).sw == 0x6985
    for _ in range(3):
        card.do(0x2C, 0, 0x80, b"87654321" + block(PIN))


def test_a_crash_at_any_step_of_a_reset_leaves_the_old_card_or_a_new_one(card: PivCard, tmp_path: Path) -> None:
    blocked(card)
    before = card.stored.data
    for step in range(20):
        with stopping_at(step, Crash):
            try:
                card.do(0xFB)
            except Crash:
                pass
            else:
                break
        after = Store(tmp_path).read("piv")
        parts = [after.pin != before.pin, not after.keys, after.management != before.management]
        assert parts in ([False] * 3, [True] * 3), f"a part of it is new after step {step}"
        card.stored.save(before)
    assert card.verify(b"123456") == 0x9000


def test_reset_wants_both_blocked_and_starts_anew(card: PivCard) -> None:
    blocked(card)
    before = card.stored.data.objects["5FC102"]
    assert card.do(0xFB, 0, 1).sw == 0x6A86
    assert card.do(0xFB).sw == 0x9000
    assert card.stored.data.keys == ()
    assert card.stored.data.objects["5FC102"] != before
    assert card.do(0xF7, 0, 0x9B).data == bytes.fromhex("01010A 050101 02020001")
    assert card.do(0x47, 0, 0x9A, bytes.fromhex("AC03800111")).sw == 0x6982
    assert card.verify(b"123456") == 0x9000
    assert card.do(0x24, 0, 0x81, PUK + PUK).sw == 0x9000
