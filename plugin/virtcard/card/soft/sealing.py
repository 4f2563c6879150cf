"""Keys put into a card, which needs no PIN, and its management key."""

from __future__ import annotations

from virtcard.card.soft import keys, seals
from virtcard.card.soft.model import CardData, KeyRecord, ManagementRecord, Origin, PinPolicy
from virtcard.card.soft.seals import SealContext
from virtcard.errors import Failed

_MANAGEMENT = "management"


def key_label(record: KeyRecord) -> str:
    """What a sealed key is bound to: moved to another slot or policy, it does not unseal."""
    return _label(record.slot, record.pin_policy)


def seal_key(
    data: CardData, context: SealContext, slot: int, key: keys.PrivateKey, *, pin_policy: PinPolicy, origin: Origin
) -> KeyRecord:
    """The record of a key for that slot of that card."""
    label, plain = _label(slot, pin_policy), keys.dump(key)
    if pin_policy is PinPolicy.NEVER:
        sealed = seals.seal_to_store(plain, context, label)
    else:
        sealed = seals.seal(plain, data.seal_public, context, label)
    return KeyRecord(
        slot=slot,
        algorithm=keys.algorithm_of(key),
        pin_policy=pin_policy,
        sealed=sealed,
        public=keys.public_der(key.public_key()),
        origin=origin,
    )


def seal_management(context: SealContext, algorithm: int, key: bytes) -> ManagementRecord:
    """The record of a management key; `algorithm` is PIV's number."""
    return ManagementRecord(algorithm=algorithm, sealed=seals.seal_to_store(key, context, _MANAGEMENT))


def management_key(data: CardData, context: SealContext) -> bytes | None:
    """The management key of a card that has one; Failed when it was damaged."""
    if data.management is None:
        return None
    key = seals.unseal_from_store(data.management.sealed, context, _MANAGEMENT)
    if key is None:
        raise Failed(f"The management key of the card {data.name} is damaged.", hint="Bring back a backup.")
    return key


def _label(slot: int, pin_policy: PinPolicy) -> str:
    return f"key {slot:02X} {pin_policy}"
