"""Where software cards are kept: files that this user may write, or the system's virtcardd, which keeps them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from virtcard.cli.options import Choice
from virtcard.errors import Failed, VirtcardError

if TYPE_CHECKING:
    from virtcard.card.soft.make import Exported, Wanted
    from virtcard.card.soft.material import Material
    from virtcard.card.soft.model import Algorithm
    from virtcard.card.soft.summary import Summary


class Place(Protocol):
    """A store of cards. Each method does its work whole, or raises a VirtcardError."""

    def cards(self) -> tuple[list[Summary], list[VirtcardError]]:
        """All cards by name, and what is said of those that are damaged."""

    def card(self, name: str) -> Summary:
        """One card; NoSuchCard."""

    def create(self, wanted: Wanted, subject: str, algorithm: Algorithm, authority: Material | None) -> None:
        """A card with new keys; without an authority, certified by the store's test CA."""

    def bring(self, wanted: Wanted, materials: Mapping[str, Material]) -> None:
        """A card with these keys by slot."""

    def put(self, name: str, slot: str, material: Material, *, replace: bool) -> None:
        """A key into a slot of a card."""

    def change_pin(self, name: str, pin: bytes, new: bytes) -> None:
        """Another PIN."""

    def change_puk(self, name: str, puk: bytes, new: bytes) -> None:
        """Another PUK."""

    def unblock(self, name: str, puk: bytes, pin: bytes) -> None:
        """Another PIN by the PUK."""

    def delete(self, name: str) -> None:
        """A card goes for good."""

    def certificates(self, name: str, *, authorities: bool) -> tuple[Exported, ...]:
        """Its certificates, or those that a guest must trust."""


def chosen(choice: Choice) -> Place:
    """With --session one's own files, which need no daemon, and so for root and the system; others ask virtcardd."""
    from virtcard.cli.local.card.daemon import AtDaemon
    from virtcard.cli.local.card.files import OnFiles

    return OnFiles.own(session=choice.bus == "session") if own_files(choice) else AtDaemon(choice)


def own_files(choice: Choice) -> bool:
    """Whether this user may write the files of the chosen store."""
    return choice.bus == "session" or os.geteuid() == 0


def made(choice: Choice, name: str) -> str:
    """What is said of a new card, with the words that put it into a machine of the same virtcardd."""
    session = "--session " if choice.bus == "session" else ""
    return f"The card {name} is made. Put it in with: virtcard {session}insert VM card:{name}"


def exists(place: Place, untrusted_name: str) -> bool:
    """Whether there is such a card; InvalidArgument for what is no name of one. A damaged one is there, too."""
    from virtcard.card.soft.cardfile import checked_name
    from virtcard.errors import NoSuchCard

    try:
        place.card(checked_name(untrusted_name))
    except NoSuchCard:
        return False
    except Failed:
        return True
    return True


def check_free(place: Place, untrusted_name: str) -> None:
    """Conflict when the name is taken: told before a PIN is asked for."""
    from virtcard.card.soft.upkeep import taken

    if exists(place, untrusted_name):
        raise taken(untrusted_name)


def content(path: str) -> bytes:
    """What is in a file with keys or certificates, up to a byte more than one may have."""
    from virtcard.card.soft.material import FILE_MAX

    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_MAX + 1)
    except OSError as error:
        raise Failed(f"Cannot read '{path}': {error.strerror}.", hint="Look at its name and its rights.") from error
