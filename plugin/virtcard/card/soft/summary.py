"""What everybody may know of a card: nothing in here is secret."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from virtcard.card.soft import make
from virtcard.card.soft.layout import LAYOUTS
from virtcard.card.soft.model import CardData


@dataclass(frozen=True, slots=True)
class KeySummary:
    """One slot with a key: `origin` is "generated" or "imported"; "" stands for what no certificate tells."""

    slot: str
    algorithm: str
    origin: str
    subject: str
    expires: str
    """End of the certificate's validity, ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One card. `created` is UTC in ISO 8601; tries of 0 are blocked."""

    name: str
    type: str = ""
    serial: int = 0
    created: str = ""
    pin_tries: int = 0
    puk_tries: int = 0
    keys: tuple[KeySummary, ...] = ()


def summary(data: CardData) -> Summary:
    """Of a card as it is on disk."""
    return Summary(
        name=data.name,
        type=str(data.type),
        serial=data.serial,
        created=data.created,
        pin_tries=data.pin.tries_left,
        puk_tries=data.puk.tries_left,
        keys=tuple(_keys(data)),
    )


def _keys(data: CardData) -> Iterator[KeySummary]:
    """In the order of the card's slots."""
    told = {each.name: each.told() for each in make.certificates(data)}
    layout = LAYOUTS[data.type]
    for slot in layout.slots + layout.more:
        record = data.key(slot.number)
        if record is not None:
            subject, expires = told.get(slot.name, ("", ""))
            yield KeySummary(slot.name, str(record.algorithm), str(record.origin), subject, expires)
