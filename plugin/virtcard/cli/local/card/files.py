"""Cards on files that this user may write."""

from __future__ import annotations

from collections.abc import Mapping

from virtcard.card.soft import make, upkeep
from virtcard.card.soft.ca import Authority, Holder, parse_subject
from virtcard.card.soft.make import Exported, Wanted
from virtcard.card.soft.material import Material
from virtcard.card.soft.model import Algorithm
from virtcard.card.soft.source import own_store
from virtcard.card.soft.store import Store
from virtcard.card.soft.summary import Summary, summary
from virtcard.card.soft.testca import own_authority
from virtcard.errors import VirtcardError


class OnFiles:
    """A `Place`; a virtcardd that runs sees what becomes of the files."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def own(cls, *, session: bool) -> OnFiles:
        """The store of this user, or of the system."""
        return cls(own_store(session=session))

    def cards(self) -> tuple[list[Summary], list[VirtcardError]]:
        """All cards by name, and what is said of those that are damaged."""
        found: list[Summary] = []
        errors: list[VirtcardError] = []
        for name in self._store.names():
            try:
                found.append(self.card(name))
            except VirtcardError as error:
                errors.append(error)
        return found, errors

    def card(self, name: str) -> Summary:
        """One card; NoSuchCard."""
        return summary(self._store.read(name))

    def create(self, wanted: Wanted, subject: str, algorithm: Algorithm, authority: Material | None) -> None:
        """A card with new keys."""
        holder = Holder(parse_subject(subject))
        signs = Authority.given(authority.certificate, authority.key) if authority else own_authority(self._store)
        make.create(self._store, wanted, holder, signs, algorithm=algorithm)

    def bring(self, wanted: Wanted, materials: Mapping[str, Material]) -> None:
        """A card with these keys by slot."""
        make.create_from(self._store, wanted, dict(materials))

    def put(self, name: str, slot: str, material: Material, *, replace: bool) -> None:
        """A key into a slot of a card."""
        upkeep.put_key(self._store, name, slot, material, replace=replace)

    def change_pin(self, name: str, pin: bytes, new: bytes) -> None:
        """Another PIN."""
        upkeep.change_pin(self._store, name, pin, new)

    def change_puk(self, name: str, puk: bytes, new: bytes) -> None:
        """Another PUK."""
        upkeep.change_puk(self._store, name, puk, new)

    def unblock(self, name: str, puk: bytes, pin: bytes) -> None:
        """Another PIN by the PUK."""
        upkeep.unblock(self._store, name, puk, pin)

    def delete(self, name: str) -> None:
        """A card goes for good."""
        self._store.delete(name)

    def certificates(self, name: str, *, authorities: bool) -> tuple[Exported, ...]:
        """Its certificates, or those that a guest must trust."""
        data = self._store.read(name)
        return make.authorities(data) if authorities else make.certificates(data)
