"""What a card file holds: one JSON object, bytes in base64.

Version 1. A file with a higher version belongs to a newer virtcard and is never touched; unknown fields of our own
version are refused, so that nothing gets lost when the file is written again. Nothing in here is a secret in the
clear: keys are sealed (seals.py), PIN and PUK exist only as what they unlock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, TypeVar

import msgspec

VERSION: Final = 1


class CardType(StrEnum):
    """Which applets a card shows."""

    PIV = "piv"
    CAC = "cac"


class Algorithm(StrEnum):
    """The keys that a card can hold (PIV: SP 800-78-4, table 3-1, and the sizes of 800-78-5; CAC: RSA only)."""

    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    RSA4096 = "rsa4096"
    P256 = "p256"
    P384 = "p384"

    @property
    def is_rsa(self) -> bool:
        """An RSA key, not one on a curve."""
        return self in {Algorithm.RSA2048, Algorithm.RSA3072, Algorithm.RSA4096}


class PinPolicy(StrEnum):
    """When a key wants the PIN: never, once a session, or before each use."""

    NEVER = "never"
    ONCE = "once"
    ALWAYS = "always"


class Origin(StrEnum):
    """Where a key was made: in the card, or elsewhere."""

    GENERATED = "generated"
    IMPORTED = "imported"


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of scrypt (RFC 7914): N = 2 ** log2_n. The bounds keep a damaged file from eating the memory."""

    log2_n: Annotated[int, msgspec.Meta(ge=1, le=20)]
    r: Annotated[int, msgspec.Meta(ge=1, le=16)] = 8
    p: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1


Tries = Annotated[int, msgspec.Meta(ge=0, le=255)]


class SecretRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A PIN or PUK: the card's own private key, wrapped under it; `tries_left` 0 is blocked."""

    salt: bytes
    cost: Cost
    wrapped: bytes
    tries_left: Tries
    tries_max: Tries

    def __repr__(self) -> str:
        return f"SecretRecord({self.tries_left} of {self.tries_max} tries left)"


class ManagementRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The card's management key, sealed under the key of the store; `algorithm` is PIV's number (03, 08, 0A, 0C)."""

    algorithm: int
    sealed: bytes

    def __repr__(self) -> str:
        return f"ManagementRecord({self.algorithm:#04x})"


class KeyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A private key in a slot; `public` is its SubjectPublicKeyInfo in DER."""

    slot: int
    algorithm: Algorithm
    pin_policy: PinPolicy
    sealed: bytes
    public: bytes
    origin: Origin

    def __repr__(self) -> str:
        return f"KeyRecord({self.slot:02X}, {self.algorithm})"


class CardData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole card. `identity` and `store_key_id` tie it to itself and to the store whose key seals it."""

    version: int = VERSION
    type: CardType
    name: str
    serial: int
    created: str
    """UTC, ISO 8601 in seconds."""
    identity: bytes
    store_key_id: bytes
    seal_public: bytes
    pin: SecretRecord
    puk: SecretRecord
    management: ManagementRecord | None = None
    keys: tuple[KeyRecord, ...] = ()
    objects: dict[str, bytes] = {}
    """Data objects by tag in upper-case hex."""
    authorities: tuple[bytes, ...] = ()
    """The certificates, in DER, of whoever vouches for the card's own: what a guest is told to trust."""

    def __repr__(self) -> str:
        return f"CardData({self.type} {self.name})"

    def key(self, slot: int) -> KeyRecord | None:
        """The key in that slot."""
        return next((record for record in self.keys if record.slot == slot), None)

    def with_key(self, record: KeyRecord) -> CardData:
        """With that key in its slot, in place of another."""
        others = tuple(other for other in self.keys if other.slot != record.slot)
        return msgspec.structs.replace(self, keys=(*others, record))

    def without_key(self, slot: int) -> CardData:
        """With that slot empty."""
        return msgspec.structs.replace(self, keys=tuple(other for other in self.keys if other.slot != slot))

    def with_objects(self, objects: dict[str, bytes]) -> CardData:
        """With these objects in place of those with the same tag; an empty one is taken away."""
        merged = {**self.objects, **objects}
        return msgspec.structs.replace(self, objects={tag: value for tag, value in merged.items() if value})

    def replace(self, **changes: object) -> CardData:
        """With other fields changed."""
        return msgspec.structs.replace(self, **changes)


class Header(msgspec.Struct, frozen=True):
    """All that is read of a file before its version is known."""

    version: Annotated[int, msgspec.Meta(ge=1)]


def encode(data: CardData) -> bytes:
    """The content of a card file."""
    return msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"


def version_of(untrusted: bytes) -> int:
    """The version of a card file; Damaged when it is none."""
    return parsed(untrusted, Header).version


def decode(untrusted: bytes) -> CardData:
    """The card in a file of our version; Damaged when it is none."""
    return parsed(untrusted, CardData)


T = TypeVar("T")


class Damaged(ValueError):
    """A file that does not say what its kind says."""


def parsed(untrusted: bytes, kind: type[T]) -> T:
    """The JSON object of that kind; Damaged for anything else."""
    try:
        return msgspec.json.decode(untrusted, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged("not a file of this kind") from error
