"""The store of the chosen instance, and files that people name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from virtcard.cli.options import Choice
from virtcard.errors import Conflict, Failed, NotAuthorized

if TYPE_CHECKING:
    from virtcard.card.soft.store import Store


def chosen(choice: Choice) -> Store:
    """The store of the system's virtcardd or of one's own; NotAuthorized when this user may not look into it."""
    from virtcard.card.soft.source import own_store

    store = own_store(session=choice.bus == "session")
    try:
        store.directory.exists()
    except PermissionError:
        raise NotAuthorized(
            "The cards of the system are root's.", hint="Use sudo, or --session for cards of your own."
        ) from None
    return store


def check_free(store: Store, untrusted_name: str) -> None:
    """Conflict when the name is taken: told before a PIN is asked for."""
    from virtcard.card.soft.cardfile import checked_name

    if checked_name(untrusted_name) in store.names():
        raise Conflict(f"There is a card {untrusted_name} already.", hint="Delete it first, or choose another name.")


def content(path: str) -> bytes:
    """What is in a file with keys or certificates, up to a byte more than one may have."""
    from virtcard.card.soft.material import FILE_MAX

    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_MAX + 1)
    except OSError as error:
        raise Failed(f"Cannot read {path}: {error.strerror}.", hint="Look at its name and its rights.") from error
