"""How a card's secrets are kept: sealed to the card, wrapped under PIN and PUK, or under the key of the store.

The card has an X25519 pair. Keys are sealed to its public half, so that a key can be made or imported without a PIN;
its private half is wrapped under the PIN and again under the PUK (scrypt). The key of the store goes into both wraps:
a card file alone does not let anybody try PINs. What needs no PIN is sealed under the key of the store only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from virtcard.card.soft.model import Cost, SecretRecord

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
SALT_BYTES: Final = 16

COST: Final = Cost(log2_n=14, r=12)
"""24 MiB and about 50 ms: a person does not notice, and a thief of file and store key needs days for six digits."""

PIN: Final = "pin"
PUK: Final = "puk"


@dataclass(frozen=True, slots=True)
class SealContext:
    """What every seal of a card is bound to: the card, and the key of its store."""

    identity: bytes
    store_key: bytes = field(repr=False)


def new_pair() -> tuple[bytes, bytes]:
    """Private and public half of a card's own key, 32 bytes each."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def store_key_id(store_key: bytes) -> bytes:
    """What tells two keys of a store apart, and tells nothing else about them."""
    return sha256(b"virtcard store key id\0" + store_key).digest()[:8]


def wrap(secret: bytes, private: bytes, context: SealContext, role: str, *, tries: int, cost: Cost) -> SecretRecord:
    """The record of a new PIN or PUK, with all its tries."""
    salt = os.urandom(SALT_BYTES)
    cipher = AESGCM(_stretched(secret, salt, cost, context, role))
    wrapped = _encrypt(cipher, private, _bound(context, role))
    return SecretRecord(salt=salt, cost=cost, wrapped=wrapped, tries_left=tries, tries_max=tries)


def unwrap(record: SecretRecord, untrusted_secret: bytes, context: SealContext, role: str) -> bytes | None:
    """The card's private half, or None when the secret is another. Takes the same time for both."""
    cipher = AESGCM(_stretched(untrusted_secret, record.salt, record.cost, context, role))
    return _decrypt(cipher, record.wrapped, _bound(context, role))


def seal(plain: bytes, seal_public: bytes, context: SealContext, label: str) -> bytes:
    """Sealed to the card: an X25519 public key of this once, and AES-256-GCM."""
    once = X25519PrivateKey.generate()
    once_public = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(seal_public))
    cipher = AESGCM(_derived(shared, b"", once_public + seal_public))
    return once_public + _encrypt(cipher, plain, _bound(context, label))


def unseal(sealed: bytes, private: bytes, context: SealContext, label: str) -> bytes | None:
    """What was sealed to the card; None when it was damaged."""
    once_public, rest = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    own = X25519PrivateKey.from_private_bytes(private)
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(once_public))
    except ValueError:
        return None
    cipher = AESGCM(_derived(shared, b"", once_public + own.public_key().public_bytes_raw()))
    return _decrypt(cipher, rest, _bound(context, label))


def seal_to_store(plain: bytes, context: SealContext, label: str) -> bytes:
    """Sealed under the key of the store."""
    return _encrypt(AESGCM(_derived(context.store_key, context.identity, b"store")), plain, _bound(context, label))


def unseal_from_store(sealed: bytes, context: SealContext, label: str) -> bytes | None:
    """What was sealed under the key of the store; None when it was damaged."""
    return _decrypt(AESGCM(_derived(context.store_key, context.identity, b"store")), sealed, _bound(context, label))


def _stretched(secret: bytes, salt: bytes, cost: Cost, context: SealContext, role: str) -> bytes:
    # HMAC fills its key up with zeros: without the hash, "123456" and "123456\0" would be the same secret.
    scrypt = Scrypt(salt=salt, length=KEY_BYTES, n=1 << cost.log2_n, r=cost.r, p=cost.p)
    stretched = scrypt.derive(sha256(secret).digest())
    return _derived(stretched, context.store_key, role.encode())


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=b"virtcard card 1 " + info).derive(secret)


def _bound(context: SealContext, label: str) -> bytes:
    return context.identity + label.encode()


def _encrypt(cipher: AESGCM, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, bound)


def _decrypt(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes | None:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        return None
