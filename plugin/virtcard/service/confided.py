"""The documents that come over one-time sockets: JSON objects, whose fields are secrets."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from virtcard.card.soft.model import Damaged, parsed
from virtcard.errors import InvalidArgument


class Confided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document of which nothing is shown."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class NewCard(Confided, frozen=True, kw_only=True):
    """CreateCard: PIN and PUK, and perhaps an authority of one's own: certificate and key in PEM."""

    pin: str
    puk: str
    authority: str = ""
    authority_password: str = ""


class ImportedKey(Confided, frozen=True, kw_only=True):
    """ImportKey: a key with its certificate, either in `pem`, or in `pkcs12` in base64."""

    pem: str = ""
    pkcs12: bytes = b""
    password: str = ""


class PlacedKey(ImportedKey, frozen=True, kw_only=True):
    """One key of a new card. An empty slot is the card's next one."""

    slot: str = ""


class ImportedCard(Confided, frozen=True, kw_only=True):
    """ImportCard."""

    pin: str
    puk: str
    keys: Annotated[tuple[PlacedKey, ...], msgspec.Meta(min_length=1, max_length=32)]


class PinChange(Confided, frozen=True, kw_only=True):
    """ChangePin."""

    pin: str
    new_pin: str


class PukChange(Confided, frozen=True, kw_only=True):
    """ChangePuk."""

    puk: str
    new_puk: str


class Unblocking(Confided, frozen=True, kw_only=True):
    """Unblock."""

    puk: str
    new_pin: str


T = TypeVar("T", bound=Confided)


def confided(untrusted: bytes, kind: type[T]) -> T:
    """The document; InvalidArgument, which shows nothing of it, for another one."""
    try:
        return parsed(untrusted, kind)
    except Damaged:
        fields = ", ".join(kind.__struct_fields__)
        raise InvalidArgument(
            "What came over the socket is not what this call takes.", hint=f"It is a JSON object with {fields}."
        ) from None
