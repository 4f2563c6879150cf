"""The JSON of `card list` and `card show`: keys are added, never renamed or removed. No secrets."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from virtcard.cli.screen import clock

if TYPE_CHECKING:
    from virtcard.card.soft.summary import KeySummary, Summary


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


def soft_card(card: Summary) -> SoftCard:
    """The shape of a card."""
    return SoftCard(
        name=card.name,
        type=card.type,
        serial=card.serial,
        created=card.created,
        pin_tries=card.pin_tries,
        puk_tries=card.puk_tries,
    )


def with_keys(card: Summary) -> SoftCardWithKeys:
    """The shape of a card with its keys, in the order of its slots."""
    return SoftCardWithKeys(**soft_card(card), keys=[_key(key) for key in card.keys])


def moment(iso: str) -> str:
    """A time of ISO 8601 on the reader's own clock; what is none stays as it is."""
    try:
        return clock(int(datetime.fromisoformat(iso).timestamp()) * 1_000_000)
    except ValueError:
        return iso


def tries(number: int) -> str:
    """What is left of a PIN or PUK, for a person."""
    return str(number or "blocked")


def _key(key: KeySummary) -> Key:
    return Key(slot=key.slot, algorithm=key.algorithm, origin=key.origin, subject=key.subject, expires=key.expires)
