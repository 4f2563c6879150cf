"""Private keys of software cards, beside what OpenSSL says of the same numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from virtcard.card.soft import keys
from virtcard.card.soft.model import Algorithm
from virtcard.errors import CardError, InvalidArgument, Unsupported

RSA_KEYS = {algorithm: cast(rsa.RSAPrivateKey, keys.generate(algorithm)) for algorithm in Algorithm if algorithm.is_rsa}
EC_KEYS = {
    algorithm: cast(ec.EllipticCurvePrivateKey, keys.generate(algorithm))
    for algorithm in Algorithm
    if not algorithm.is_rsa
}
KEY = RSA_KEYS[Algorithm.RSA2048]
SIZE = 256

each_rsa = pytest.mark.parametrize("key", RSA_KEYS.values(), ids=RSA_KEYS.keys())
each_curve = pytest.mark.parametrize("key", EC_KEYS.values(), ids=EC_KEYS.keys())


def signature_block(key: rsa.RSAPrivateKey, content: bytes) -> bytes:
    """RFC 8017, 9.2: EMSA-PKCS1-v1_5."""
    filler = key.key_size // 8 - 3 - len(content)
    return b"\0\1" + b"\xff" * filler + b"\0" + content


def raw(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """The textbook: the block to the power of d modulo n."""
    numbers = key.private_numbers()
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(len(block), "big")


def with_pem(key: keys.PrivateKey, path: Path) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_key_survives_dump_and_load(algorithm: Algorithm) -> None:
    key = RSA_KEYS.get(algorithm) or EC_KEYS[algorithm]
    assert keys.algorithm_of(key) is algorithm
    assert keys.algorithm_of(key.public_key()) is algorithm
    assert keys.dump(keys.load(keys.dump(key))) == keys.dump(key)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate(),
        dsa.generate_private_key(1024),
        None,
    ],
    ids=["rsa1024", "p521", "secp256k1", "ed25519", "dsa", "nothing"],
)
def test_other_kinds_of_keys_are_unsupported(key: object) -> None:
    with pytest.raises(Unsupported):
        keys.algorithm_of(key)


@each_rsa
@pytest.mark.parametrize("length", [0, 1, 20, 35, 36, 51, 83])
def test_a_signature_block_gives_what_raw_rsa_gives(key: rsa.RSAPrivateKey, length: int) -> None:
    # 36 bytes are MD5 and SHA-1 as TLS 1.1 signs them, without a DigestInfo.
    for content in (bytes(length), b"\xff" * length, bytes(range(length))):
        block = signature_block(key, content)
        assert keys.signed_content(block) == content
        assert keys.rsa(key, block) == raw(key, block)


@each_rsa
def test_the_longest_content_of_a_signature_block(key: rsa.RSAPrivateKey) -> None:
    block = signature_block(key, b"x" * (key.key_size // 8 - 11))
    assert keys.signed_content(block) is not None
    assert keys.rsa(key, block) == raw(key, block)


@pytest.mark.parametrize(
    "block",
    [
        b"\0\1" + b"\xff" * 7 + b"\0" + b"x" * (SIZE - 10),  # RFC 8017 wants eight
        b"\0\1" + b"\xff" * 254,
        b"\0\1" + b"\xff" * 100 + b"\xfe" + b"\0" + b"x" * 152,
        b"\0\2" + b"\xff" * 200 + b"\0" + b"x" * 53,
        b"\0\0" + b"\xff" * 200 + b"\0" + b"x" * 53,
        b"\0\1\0" + b"\xff" * 253,
        bytes(SIZE),
        bytes(SIZE - 1) + b"\1",
        b"\0" + b"\xff" * 255,
    ],
)
def test_what_is_no_signature_block_is_raw_rsa_too(block: bytes) -> None:
    assert keys.signed_content(block) is None
    assert keys.rsa(KEY, block) == raw(KEY, block)


@settings(max_examples=40)
@given(number=st.integers(0, KEY.private_numbers().public_numbers.n - 1))
def test_any_number_below_the_modulus_is_raised_to_the_private_exponent(number: int) -> None:
    block = number.to_bytes(SIZE, "big")
    answer = int.from_bytes(keys.rsa(KEY, block), "big")
    numbers = KEY.public_key().public_numbers()
    assert pow(answer, numbers.e, numbers.n) == number


def test_multiples_of_the_factors_do_not_break_the_remainders() -> None:
    numbers = KEY.private_numbers()
    for number in (numbers.p, numbers.q, numbers.p * 2, numbers.public_numbers.n - 1):
        block = number.to_bytes(SIZE, "big")
        assert keys.rsa(KEY, block) == raw(KEY, block)


@each_rsa
def test_a_number_not_below_the_modulus_is_refused(key: rsa.RSAPrivateKey) -> None:
    n = key.public_key().public_numbers().n
    for number in (n, n + 1, (1 << key.key_size) - 1):
        with pytest.raises(InvalidArgument):
            keys.rsa(key, number.to_bytes(key.key_size // 8, "big"))


@pytest.mark.parametrize("length", [0, 1, SIZE - 1, SIZE + 1])
def test_a_block_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument):
        keys.rsa(KEY, bytes(length))


def test_the_same_block_is_blinded_differently_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bases: list[int] = []
    power = keys._power

    def spy(base: int, exponent: int, prime: int) -> int:
        bases.append(base)
        return power(base, exponent, prime)

    monkeypatch.setattr(keys, "_power", spy)
    block = b"\0\2" + b"x" * 254
    assert keys.rsa(KEY, block) == keys.rsa(KEY, block)
    assert len(set(bases)) == 2
    assert int.from_bytes(block, "big") not in bases


def test_a_wrong_result_never_leaves_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    # One wrong remainder is enough to factor the modulus: gcd(s ^ e - m, n).
    power, calls = keys._power, []

    def faulty(base: int, exponent: int, prime: int) -> int:
        calls.append(prime)
        return power(base, exponent, prime) ^ (len(calls) == 1)

    monkeypatch.setattr(keys, "_power", faulty)
    with pytest.raises(CardError):
        keys.rsa(KEY, b"\0\2" + b"x" * 254)


@each_rsa
def test_openssl_verifies_a_pkcs1_signature(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"message")
    info = bytes.fromhex("3031300D060960864801650304020105000420") + digest.finalize()
    (tmp_path / "signature").write_bytes(keys.rsa(key, signature_block(key, info)))
    (tmp_path / "public").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    verdict = openssl(
        "dgst", "-sha256", "-verify", tmp_path / "public", "-signature", tmp_path / "signature", given=b"message"
    )
    assert verdict == b"Verified OK\n"


@each_rsa
@pytest.mark.parametrize("mode", ["pkcs1", "oaep"])
def test_what_openssl_enciphers_is_deciphered_as_openssl_does(
    key: rsa.RSAPrivateKey, mode: str, tmp_path: Path
) -> None:
    path = with_pem(key, tmp_path / "key")
    option = ("-pkeyopt", f"rsa_padding_mode:{mode}")
    enciphered = openssl("pkeyutl", "-encrypt", "-inkey", path, *option, given=b"session key")
    block = openssl("pkeyutl", "-decrypt", "-inkey", path, "-pkeyopt", "rsa_padding_mode:none", given=enciphered)
    assert keys.rsa(key, enciphered) == block


@each_rsa
def test_a_pss_block_becomes_a_signature_that_the_library_verifies(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    # The guest's software encodes PSS and gives the card the block: here taken out of another signature.
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    reference = key.sign(b"message", pss, hashes.SHA256())
    numbers = key.public_key().public_numbers()
    block = pow(int.from_bytes(reference, "big"), numbers.e, numbers.n).to_bytes(len(reference), "big")
    key.public_key().verify(keys.rsa(key, block), b"message", pss, hashes.SHA256())


@each_curve
@pytest.mark.parametrize("length", [0, 1, 20, 28, 31, 32, 33, 47, 48, 49, 64, 128])
def test_a_digest_of_any_length_is_signed_by_its_leftmost_bits(key: ec.EllipticCurvePrivateKey, length: int) -> None:
    digest = bytes(range(1, length + 1))
    signature = keys.sign_ec(key, digest)
    size = key.key_size // 8
    fitting = hashes.SHA256() if size == 32 else hashes.SHA384()
    number = digest[:size].rjust(size, b"\0")
    key.public_key().verify(signature, number, ec.ECDSA(utils.Prehashed(fitting)))
    other = bytes([number[0] ^ 1]) + number[1:]
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, other, ec.ECDSA(utils.Prehashed(fitting)))


@each_curve
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
def test_openssl_verifies_a_signature_over_its_own_digest(
    key: ec.EllipticCurvePrivateKey, digest: str, tmp_path: Path
) -> None:
    number = openssl("dgst", f"-{digest}", "-binary", given=b"message")
    (tmp_path / "signature").write_bytes(keys.sign_ec(key, number))
    (tmp_path / "public").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    arguments = ("-verify", tmp_path / "public", "-signature", tmp_path / "signature")
    assert openssl("dgst", f"-{digest}", *arguments, given=b"message") == b"Verified OK\n"


@each_curve
def test_both_sides_agree_on_a_secret(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> None:
    peer = ec.generate_private_key(key.curve)
    point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    (tmp_path / "peer").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    path = with_pem(peer, tmp_path / "key")
    assert keys.ecdh(key, point) == openssl("pkeyutl", "-derive", "-inkey", path, "-peerkey", tmp_path / "peer")


@each_curve
def test_what_is_no_point_of_the_curve_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    peer = ec.generate_private_key(key.curve).public_key()
    point = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    compressed = peer.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    other_curve = ec.SECP384R1() if key.key_size == 256 else ec.SECP256R1()
    foreign = ec.generate_private_key(other_curve).public_key()
    bad = [
        b"",
        b"\0",  # infinity
        b"\x04",
        compressed,
        point[:-1],
        point + b"\0",
        point[:-1] + bytes([point[-1] ^ 1]),
        b"\x04" + bytes(len(point) - 1),
        b"\x04" + b"\xff" * (len(point) - 1),
        foreign.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    ]
    for untrusted in bad:
        with pytest.raises(InvalidArgument):
            keys.ecdh(key, untrusted)
