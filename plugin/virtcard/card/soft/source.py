"""`card:NAME`: a software card, for one bridge at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from virtcard.card.base import Surroundings
from virtcard.card.soft.cac import cac_applets
from virtcard.card.soft.iso7816 import ATR, Applet, SoftCard
from virtcard.card.soft.model import CardType
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.piv import PivApplet
from virtcard.card.soft.store import OpenCard, Store
from virtcard.card.soft.stored import StoredCard
from virtcard.errors import Failed

SYSTEM_DIRECTORY: Final = Path("/var/lib/virtcard/cards")
"""The cards of the system's virtcardd: below its StateDirectory."""

CREDENTIAL: Final = "virtcard.store-key"
"""The systemd credential (LoadCredentialEncrypted=) that takes the place of the file store.key."""
UNIT_CREDENTIALS: Final = Path("/run/credentials/virtcardd.service")
"""Where systemd keeps the credentials of the system's virtcardd while it runs; root may read them."""
_CREDENTIAL_MAX: Final = 4096


def _piv_applets(card: OpenCard, pins: Pins) -> tuple[Applet, ...]:
    return (PivApplet(card, pins),)


_APPLETS: Final[dict[CardType, Callable[[OpenCard, Pins], Sequence[Applet]]]] = {
    CardType.PIV: _piv_applets,
    CardType.CAC: cac_applets,
}


class SoftSource:
    """The `card` scheme, on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def registered(cls, surroundings: Surroundings) -> SoftSource:
        """As pyproject.toml registers it: on the store of the system, or of this user's session."""
        return cls(own_store(session=surroundings.session))

    def open(self, rest: str) -> StoredCard:
        """The card of that name, held until its `power_off`; NoSuchCard, or Busy while another bridge holds it."""
        return StoredCard(self._opened(rest), partial(self._opened, rest))

    def _opened(self, name: str) -> SoftCard:
        card = self._store.open(name)
        try:
            applets = _APPLETS[card.data.type](card, Pins(card))
        except BaseException:
            card.close()
            raise
        return SoftCard(applets, ATR, card.close)


def own_store(*, session: bool, environ: Mapping[str, str] = os.environ) -> Store:
    """The store of the system, or of this user's session.

    The system's is sealed for root's commands as for the daemon: by the credential of its unit while that runs."""
    if session:
        return Store(session_directory(environ), credential(environ))
    return Store(SYSTEM_DIRECTORY, credential({"CREDENTIALS_DIRECTORY": str(UNIT_CREDENTIALS), **environ}))


def session_directory(environ: Mapping[str, str]) -> Path:
    """Below the user's data directory (XDG base directories: a relative one does not count)."""
    data = Path(environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():
        data = Path(environ.get("HOME", "/"), ".local", "share")
    return data / "virtcard" / "cards"


def credential(environ: Mapping[str, str]) -> bytes | None:
    """What systemd gave us to seal cards with; None when it gave nothing."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    path = Path(directory, CREDENTIAL)
    try:
        with path.open("rb") as file:
            return file.read(_CREDENTIAL_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(f"Cannot read the credential {path}: {error.strerror}.") from error
