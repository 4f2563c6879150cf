"""Cards made from nothing, keys and certificates put in from files, and certificates taken out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate

from virtcard.card.soft import keys, seals
from virtcard.card.soft.ca import CARD_DAYS, Authority, Holder
from virtcard.card.soft.cardfile import checked_name
from virtcard.card.soft.layout import LAYOUTS, Layout, Slot
from virtcard.card.soft.material import Material
from virtcard.card.soft.model import Algorithm, CardData, CardType, Cost, Origin
from virtcard.card.soft.sealing import seal_key, seal_management
from virtcard.card.soft.seals import SealContext
from virtcard.card.soft.store import OpenCard, Store
from virtcard.errors import InvalidArgument

TRIES: Final = 3
"""Of PIN and PUK, as real cards have."""
_DAYS_MAX: Final = 36_500
_SERIAL_MAX: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A card to be made, without its keys. PIN and PUK without padding; a management key is made when none is given."""

    name: str
    type: CardType
    pin: bytes = field(repr=False)
    puk: bytes = field(repr=False)
    management_key: bytes | None = field(default=None, repr=False)
    tries: int = TRIES
    cost: Cost = seals.COST


@dataclass(frozen=True, slots=True)
class Exported:
    """A certificate that left a card: `name` is its slot, or "ca"."""

    name: str
    der: bytes

    @property
    def pem(self) -> bytes:
        """The same in PEM."""
        return load_der_x509_certificate(self.der).public_bytes(Encoding.PEM)

    def told(self) -> tuple[str, str]:
        """Subject (RFC 4514) and end of its validity (ISO 8601, UTC); "" when a guest wrote something else there."""
        try:
            certificate = load_der_x509_certificate(self.der)
            return certificate.subject.rfc4514_string(), f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        except ValueError:
            return "", ""


def create(
    store: Store, wanted: Wanted, holder: Holder, authority: Authority, *, algorithm: Algorithm, days: int = CARD_DAYS
) -> CardData:
    """Make and keep a card with a key and a certificate in each of its slots.

    InvalidArgument or Unsupported for what cannot be made, Conflict when the name is taken, Failed when the disk
    refuses: then there is no card.
    """
    layout = LAYOUTS[wanted.type]
    layout.check_algorithm(algorithm)
    if not 1 <= days <= _DAYS_MAX:
        raise InvalidArgument(f"A certificate is valid for 1 to {_DAYS_MAX} days.")
    data, context = _begun(store, wanted)
    for slot in layout.slots:
        key = keys.generate(algorithm)
        der = authority.issue(key.public_key(), holder, slot.purpose, days)
        data = _with_key(data, context, slot, key, der=der, origin=Origin.GENERATED)
    data = _with_authorities(data, [authority.certificate.public_bytes(Encoding.DER)])
    store.create(data)
    return data


def create_from(store: Store, wanted: Wanted, materials: dict[str, Material]) -> CardData:
    """Make and keep a card with these keys by slot name: all of them, or there is no card. None is a card without keys,
    to be filled by `import_key` or by a guest."""
    data, context = _begun(store, wanted)
    for name, material in materials.items():
        data = with_material(data, context, name, material)
    store.create(data)
    return data


def import_key(card: OpenCard, slot_name: str, material: Material) -> tuple[str, ...]:
    """Put a key and its certificate into a slot, in place of what was there. Returns warnings, a sentence each."""
    card.save(with_material(card.data, card.context, slot_name, material))
    return material.warnings()


def with_material(data: CardData, context: SealContext, slot_name: str, material: Material) -> CardData:
    """The card with that key; InvalidArgument or Unsupported when it does not fit."""
    layout = LAYOUTS[data.type]
    slot = layout.slot(slot_name)
    layout.check_algorithm(keys.algorithm_of(material.key))
    data = _with_key(data, context, slot, material.key, der=material.der, origin=Origin.IMPORTED)
    return _with_authorities(data, material.authorities)


def certificates(data: CardData) -> tuple[Exported, ...]:
    """The card's certificates, by slot."""
    layout = LAYOUTS[data.type]
    found = ((slot, layout.certificate(data, slot)) for slot in layout.slots + layout.more)
    return tuple(Exported(slot.name, der) for slot, der in found if der)


def authorities(data: CardData) -> tuple[Exported, ...]:
    """The certificates that a guest must trust to trust the card's own."""
    return tuple(Exported("ca", der) for der in data.authorities)


def _begun(store: Store, wanted: Wanted) -> tuple[CardData, SealContext]:
    name, layout = checked_name(wanted.name), LAYOUTS[wanted.type]
    pin, puk = layout.pin.check(wanted.pin), layout.puk.check(wanted.puk)
    if not 1 <= wanted.tries <= 255:
        raise InvalidArgument("A PIN has 1 to 255 tries.")
    context = store.context(os.urandom(16))
    private, public = seals.new_pair()
    data = CardData(
        type=wanted.type,
        name=name,
        serial=int.from_bytes(os.urandom(4), "big") % (_SERIAL_MAX - 1) + 1,
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        identity=context.identity,
        store_key_id=seals.store_key_id(context.store_key),
        seal_public=public,
        pin=seals.wrap(pin, private, context, seals.PIN, tries=wanted.tries, cost=wanted.cost),
        puk=seals.wrap(puk, private, context, seals.PUK, tries=wanted.tries, cost=wanted.cost),
        objects=dict(layout.objects()),
    )
    return _with_management(data, context, layout, wanted.management_key), context


def _with_management(data: CardData, context: SealContext, layout: Layout, key: bytes | None) -> CardData:
    if layout.management is None:
        return data
    algorithm, length = layout.management
    if key is not None and len(key) != length:
        raise InvalidArgument(f"The management key of this card has {length} bytes.")
    return data.replace(management=seal_management(context, algorithm, key or os.urandom(length)))


def _with_key(
    data: CardData, context: SealContext, slot: Slot, key: keys.PrivateKey, *, der: bytes, origin: Origin
) -> CardData:
    record = seal_key(data, context, slot.number, key, pin_policy=slot.pin_policy, origin=origin)
    return data.with_key(record).with_objects({slot.tag: LAYOUTS[data.type].wrap(der)})


def _with_authorities(data: CardData, added: Iterable[bytes]) -> CardData:
    return data.replace(authorities=tuple(dict.fromkeys((*data.authorities, *added))))
