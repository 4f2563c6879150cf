"""A password as SPICE wants it: encrypted with the key that the server made for this link."""

from __future__ import annotations

from virtcard import limits
from virtcard.errors import InvalidArgument, PeerError


def check_password(password: bytes) -> bytes:
    """The password; InvalidArgument when no server can have it."""
    if len(password) > limits.SPICE_PASSWORD_MAX or b"\0" in password:
        raise InvalidArgument(f"A SPICE password has at most {limits.SPICE_PASSWORD_MAX} bytes, and no NUL.")
    return password


def encrypt(password: bytes, public_key: bytes) -> bytes:
    """RSA-OAEP with SHA-1, of the password and a NUL (reds.cpp, reds_handle_ticket). PeerError when the key is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA1
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as fault:
        raise PeerError("The SPICE server gave no key for the password.") from fault
    if not isinstance(key, RSAPublicKey):
        raise PeerError("The SPICE server gave another key than RSA for the password.")
    try:
        return key.encrypt(password + b"\0", OAEP(MGF1(SHA1()), SHA1(), None))  # noqa: S303 (as the protocol has it)
    except ValueError as fault:
        raise PeerError("The SPICE server gave a key that is too short for the password.") from fault
