"""The JSON of `card list` and `card show`: keys are added, never renamed or removed. No secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from virtcard.card.soft.model import CardData


class SoftCard(TypedDict):
    """One card. `created` is UTC in ISO 8601; tries of 0 are blocked."""

    name: str
    type: str
    serial: int
    created: str
    pin_tries: int
    puk_tries: int


class Key(TypedDict):
    """One slot with a key: `origin` is "generated" or "imported"; "" stands for what no certificate tells."""

    slot: str
    algorithm: str
    origin: str
    subject: str
    expires: str


class SoftCardWithKeys(SoftCard):
    """A card with what is in its slots."""

    keys: list[Key]


def soft_card(data: CardData) -> SoftCard:
    """The shape of a card."""
    return SoftCard(
        name=data.name,
        type=str(data.type),
        serial=data.serial,
        created=data.created,
        pin_tries=data.pin.tries_left,
        puk_tries=data.puk.tries_left,
    )


def with_keys(data: CardData) -> SoftCardWithKeys:
    """The shape of a card with its keys, in the order of its slots."""
    return SoftCardWithKeys(**soft_card(data), keys=_keys(data))


def _keys(data: CardData) -> list[Key]:
    from virtcard.card.soft import make
    from virtcard.card.soft.layout import LAYOUTS

    told = {each.name: each.told() for each in make.certificates(data)}
    layout = LAYOUTS[data.type]
    found = []
    for slot in layout.slots + layout.more:
        record = data.key(slot.number)
        if record is not None:
            subject, expires = told.get(slot.name, ("", ""))
            found.append(
                Key(
                    slot=slot.name,
                    algorithm=str(record.algorithm),
                    origin=str(record.origin),
                    subject=subject,
                    expires=expires,
                )
            )
    return found
