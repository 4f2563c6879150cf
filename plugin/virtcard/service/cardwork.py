"""Software cards made and kept by calls: what is secret comes over a one-time socket, for which the call answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from virtcard.card.soft import make, upkeep
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.layout import LAYOUTS
from virtcard.card.soft.material import Material, load_pem, load_pkcs12
from virtcard.card.soft.model import Algorithm, CardType
from virtcard.card.soft.store import Store
from virtcard.card.soft.testca import own_authority
from virtcard.errors import InvalidArgument
from virtcard.names import card_path
from virtcard.service.api import CardWish
from virtcard.service.cards import Cards
from virtcard.service.confided import (
    Confided,
    ImportedCard,
    ImportedKey,
    NewCard,
    PinChange,
    PukChange,
    Unblocking,
    confided,
)
from virtcard.service.onetime import OneTimeSockets
from virtcard.service.threads import start

T = TypeVar("T", bound=Confided)
R = TypeVar("R")


class CardWork:
    """Implements `service.api.CardCalls`. Belongs to the event loop's thread; the work is done on threads."""

    def __init__(self, store: Store, cards: Cards, sockets: OneTimeSockets) -> None:
        self._store = store
        self._cards = cards
        self._sockets = sockets

    async def create(self, user: int, name: str, wish: CardWish) -> str:
        """A new card with new keys."""
        kind, algorithm = _kind(wish.type), _algorithm(wish.algorithm)
        LAYOUTS[kind].check_algorithm(algorithm)
        holder = Holder(parse_subject(wish.subject or f"CN={name}"))
        await _beside(upkeep.check_free, self._store, name)

        def work(given: NewCard) -> None:
            wanted = _wanted(name, kind, given)
            make.create(self._store, wanted, holder, self._authority(given), algorithm=algorithm)

        return self._offer(user, name, NewCard, work)

    async def import_card(self, user: int, name: str, wish: CardWish) -> str:
        """A new card with keys that are there already."""
        kind = _kind(wish.type)
        await _beside(upkeep.check_free, self._store, name)

        def work(given: ImportedCard) -> Iterable[str]:
            materials = upkeep.placed(kind, [(each.slot, _material(each)) for each in given.keys])
            make.create_from(self._store, _wanted(name, kind, given), materials)
            return [sentence for material in materials.values() for sentence in material.warnings()]

        return self._offer(user, name, ImportedCard, work)

    async def import_key(self, user: int, name: str, slot: str, *, replace: bool) -> str:
        """A key into a slot of a card."""
        await _beside(lambda: upkeep.check_slot(self._store, name, slot, replace=replace))

        def work(given: ImportedKey) -> Iterable[str]:
            return upkeep.put_key(self._store, name, slot, _material(given), replace=replace)

        return self._offer(user, name, ImportedKey, work)

    async def change_pin(self, user: int, name: str) -> str:
        """Another PIN, by the PIN."""
        await _beside(self._store.read, name)
        return self._offer(
            user, name, PinChange,
            lambda given: upkeep.change_pin(self._store, name, given.pin.encode(), given.new_pin.encode()),
        )  # fmt: skip

    async def change_puk(self, user: int, name: str) -> str:
        """Another PUK, by the PUK."""
        await _beside(self._store.read, name)
        return self._offer(
            user, name, PukChange,
            lambda given: upkeep.change_puk(self._store, name, given.puk.encode(), given.new_puk.encode()),
        )  # fmt: skip

    async def unblock(self, user: int, name: str) -> str:
        """Another PIN, by the PUK."""
        await _beside(self._store.read, name)
        return self._offer(
            user, name, Unblocking,
            lambda given: upkeep.unblock(self._store, name, given.puk.encode(), given.new_pin.encode()),
        )  # fmt: skip

    async def delete(self, name: str) -> None:
        """Remove a card for good."""
        await _beside(self._store.delete, name)
        await self._cards.look(name)

    async def certificates(self, name: str, *, authorities: bool) -> tuple[tuple[str, bytes], ...]:
        """Slot and DER of the card's certificates, or of those that a guest must trust."""
        data = await _beside(self._store.read, name)
        found = make.authorities(data) if authorities else make.certificates(data)
        return tuple((each.name, each.der) for each in found)

    def _offer(self, user: int, name: str, kind: type[T], work: Callable[[T], Iterable[str] | None]) -> str:
        """The path of a socket that takes such a document; the card is on its shelf before the answer leaves."""

        async def answer(untrusted: bytes) -> dict[str, object]:
            warnings = await _beside(work, confided(untrusted, kind))
            await self._cards.look(name)
            return {"card": card_path(name), "warnings": list(warnings or ())}

        return str(self._sockets.offer(user, answer))

    def _authority(self, given: NewCard) -> Authority:
        if not given.authority:
            return own_authority(self._store)
        material = load_pem(given.authority.encode(), given.authority_password.encode() or None)
        return Authority.given(material.certificate, material.key)


async def _beside(function: Callable[..., R], *arguments: object) -> R:
    """Call it on a thread: files and keys take their time."""
    return await asyncio.wrap_future(start(function, *arguments))


def _kind(untrusted: str) -> CardType:
    try:
        return CardType(untrusted)
    except ValueError:
        raise InvalidArgument("There is no such type of card.", hint="It is one of piv, cac.") from None


def _algorithm(untrusted: str) -> Algorithm:
    try:
        return Algorithm(untrusted)
    except ValueError:
        raise InvalidArgument("There is no such kind of key.", hint=f"It is one of {', '.join(Algorithm)}.") from None


def _wanted(name: str, kind: CardType, given: NewCard | ImportedCard) -> make.Wanted:
    layout = LAYOUTS[kind]
    pin, puk = layout.pin.check(given.pin.encode()), layout.puk.check(given.puk.encode())
    return make.Wanted(name=name, type=kind, pin=pin, puk=puk)


def _material(given: ImportedKey) -> Material:
    password = given.password.encode() or None
    if bool(given.pem) == bool(given.pkcs12):
        raise InvalidArgument("A key comes either in 'pem' or in 'pkcs12'.", hint="Give one of them.")
    return load_pem(given.pem.encode(), password) if given.pem else load_pkcs12(given.pkcs12, password)
