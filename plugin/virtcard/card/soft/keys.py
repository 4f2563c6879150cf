"""Private keys: made, kept as PKCS #8, and used on what a card is given, which is already padded or hashed."""

from __future__ import annotations

import os
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from virtcard.card.soft.model import Algorithm
from virtcard.errors import CardError, InvalidArgument, Unsupported

PrivateKey: TypeAlias = rsa_keys.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa_keys.RSAPublicKey | ec.EllipticCurvePublicKey

PUBLIC_EXPONENT: Final = 65537

_SIGNATURE_BLOCK: Final = b"\x00\x01"
_PADDING_MIN: Final = 8
"""Bytes of FF in a PKCS #1 v1.5 signature block (RFC 8017, 9.2)."""
_EXPONENT_BLIND_BITS: Final = 64

_RSA_BITS: Final = {2048: Algorithm.RSA2048, 3072: Algorithm.RSA3072, 4096: Algorithm.RSA4096}
_CURVES: Final[dict[str, tuple[Algorithm, ec.EllipticCurve, hashes.HashAlgorithm]]] = {
    "secp256r1": (Algorithm.P256, ec.SECP256R1(), hashes.SHA256()),
    "secp384r1": (Algorithm.P384, ec.SECP384R1(), hashes.SHA384()),
}
_BY_ALGORITHM: Final = {algorithm: curve for algorithm, curve, _ in _CURVES.values()}
_BITS: Final = {algorithm: bits for bits, algorithm in _RSA_BITS.items()}


def generate(algorithm: Algorithm) -> PrivateKey:
    """A new key. RSA takes from a tenth of a second (2048) to several seconds (4096)."""
    if algorithm.is_rsa:
        return rsa_keys.generate_private_key(PUBLIC_EXPONENT, _BITS[algorithm])
    return ec.generate_private_key(_BY_ALGORITHM[algorithm])


def algorithm_of(key: object) -> Algorithm:
    """What kind a private or public key is; Unsupported for one that a card cannot hold."""
    match key:
        case rsa_keys.RSAPrivateKey() | rsa_keys.RSAPublicKey() if key.key_size in _RSA_BITS:
            return _RSA_BITS[key.key_size]
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name][0]
        case _:
            raise Unsupported(
                "A card cannot hold this kind of key.", hint="It holds RSA 2048, 3072 and 4096, P-256 and P-384."
            )


def dump(key: PrivateKey) -> bytes:
    """PKCS #8, DER."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def load(own: bytes) -> PrivateKey:
    """The key of a PKCS #8 that `dump` made. It was checked then; checking RSA again takes 30 ms."""
    key = load_der_private_key(own, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa_keys.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise Unsupported("A card cannot hold this kind of key.")
    return key


def public_der(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa(key: rsa_keys.RSAPrivateKey, untrusted_block: bytes) -> bytes:
    """The block to the power of the private exponent: what a card calls signing and deciphering.

    Block and result are as long as the modulus; InvalidArgument for another length or a number not below the modulus.
    PKCS #1 v1.5 signature blocks go through the library; the others (deciphering, PSS) are raw RSA in Python: blinded,
    slower, and not in constant time.
    """
    if len(untrusted_block) != key.key_size // 8:
        raise InvalidArgument("The block is not as long as the modulus of the key.")
    content = signed_content(untrusted_block)
    if content is not None:
        return key.sign(content, padding.PKCS1v15(), utils.NoDigestInfo())
    return _blinded(key.private_numbers(), int.from_bytes(untrusted_block, "big")).to_bytes(len(untrusted_block), "big")


def signed_content(block: bytes) -> bytes | None:
    """What stands behind the padding of a PKCS #1 v1.5 signature block, 00 01 FF.. 00; None for another block."""
    if not block.startswith(_SIGNATURE_BLOCK):
        return None
    filler, zero, content = block[2:].partition(b"\0")
    whole = zero and len(filler) >= _PADDING_MIN and not filler.strip(b"\xff")
    return content if whole else None


def _blinded(own: rsa_keys.RSAPrivateNumbers, number: int) -> int:
    """Chinese remainders with a blinded base and blinded exponents, since pow() takes a time that depends on both.

    The result is checked: one that a fault got wrong would give away the factors (Boneh, DeMillo, Lipton 1997).
    """
    n, e = own.public_numbers.n, own.public_numbers.e
    if number >= n:
        raise InvalidArgument("The block is not below the modulus of the key.")
    blind = _below(n)
    base = number * pow(blind, e, n) % n
    by_p = _power(base, own.dmp1, own.p)
    by_q = _power(base, own.dmq1, own.q)
    result = (by_q + own.q * (own.iqmp * (by_p - by_q) % own.p)) * pow(blind, -1, n) % n
    if pow(result, e, n) != number:
        raise CardError("A computation with a private key went wrong.", hint="Check the memory of this machine.")
    return result


def _power(base: int, exponent: int, prime: int) -> int:
    blind = int.from_bytes(os.urandom(_EXPONENT_BLIND_BITS // 8), "big")
    return pow(base, exponent + blind * (prime - 1), prime)


def _below(n: int) -> int:
    """A number from 2 to n - 1: no multiple of a factor of n, but with the chance of guessing the key."""
    return 2 + int.from_bytes(os.urandom(n.bit_length() // 8 + 8), "big") % (n - 2)


def sign_ec(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """ECDSA: the signature in DER (SEQUENCE of r and s). A digest of any length, as FIPS 186-5, 6.4 takes it."""
    _, _, fitting = _CURVES[key.curve.name]
    # The leftmost bits of a longer one, and a shorter one as the same number: both curves have orders of whole bytes.
    number = digest[: fitting.digest_size].rjust(fitting.digest_size, b"\0")
    return key.sign(number, ec.ECDSA(utils.Prehashed(fitting)))


def ecdh(key: ec.EllipticCurvePrivateKey, untrusted_point: bytes) -> bytes:
    """The x coordinate of the shared point. The peer's is uncompressed, 04 X Y; InvalidArgument for no such point."""
    try:
        if untrusted_point[:1] != b"\x04":
            raise ValueError("not an uncompressed point")
        peer = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, untrusted_point)
    except ValueError:
        raise InvalidArgument("This is not a point on the key's curve.") from None
    return key.exchange(ec.ECDH(), peer)
