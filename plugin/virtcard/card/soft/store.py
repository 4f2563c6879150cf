"""The cards in a directory: NAME.card is a card, NAME.lock belongs to whoever has it open, store.key seals them all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from virtcard.card.soft.cardfile import CARD, card_names, checked_name, encoded, no_such_card, read_card
from virtcard.card.soft.files import TEMPORARY, Folder
from virtcard.card.soft.model import CardData
from virtcard.card.soft.seals import KEY_BYTES, SealContext, store_key_id
from virtcard.errors import Busy, Conflict, Failed, InvalidArgument, Unsettled
from virtcard.limits import CARD_FILE_MAX

LOCK: Final = ".lock"
STORE_KEY: Final = "store.key"

_CREDENTIAL_MIN: Final = 16


class Store:
    """The cards of one directory, which is made with the first card.

    `credential` takes the place of the file store.key: at least 16 secret bytes, best kept by systemd
    (LoadCredentialEncrypted).
    """

    def __init__(self, directory: Path, credential: bytes | None = None) -> None:
        if credential is not None and len(credential) < _CREDENTIAL_MIN:
            raise InvalidArgument(f"The credential for the card store has less than {_CREDENTIAL_MIN} bytes.")
        self.directory = directory
        self._credential = credential

    def names(self) -> tuple[str, ...]:
        """The names of all cards, sorted."""
        if not self.directory.exists():
            return ()
        with Folder(self.directory) as folder:
            return card_names(folder)

    def read(self, untrusted_name: str) -> CardData:
        """A card as it is on disk now, whoever has it open."""
        name = checked_name(untrusted_name)
        if not self.directory.exists():
            raise no_such_card(name)
        with Folder(self.directory) as folder:
            return read_card(folder, name)

    def context(self, identity: bytes) -> SealContext:
        """What the secrets of a new card are sealed with. Makes the key of the store when there is no card yet."""
        with Folder(self.directory, make=True) as folder, folder.alone():
            return SealContext(identity, self._key(folder, make=True))

    def kept(self, name: str, make: Callable[[SealContext], bytes]) -> tuple[bytes, SealContext]:
        """A file beside the cards, made when it is not there yet, and what its secrets are sealed with."""
        with Folder(self.directory, make=True) as folder, folder.alone():
            context = SealContext(name.encode(), self._key(folder, make=True))
            content = folder.read(name, CARD_FILE_MAX)
            if content is None:
                content = make(context)
                folder.write(name, content)
            return content, context

    def create(self, data: CardData) -> None:
        """Keep a new card; Conflict when its name is taken. Failed otherwise: then there is none, if the disk lets us
        take it back."""
        name = checked_name(data.name)
        with Folder(self.directory, make=True) as folder, folder.alone():
            if name in card_names(folder):
                raise Conflict(f"There is a card {name} already.", hint="Delete it first, or choose another name.")
            try:
                folder.write(name + CARD, encoded(data))
            except Unsettled:
                with suppress(Failed):
                    folder.remove(name + CARD)
                raise

    def open(self, untrusted_name: str) -> OpenCard:
        """The card, for this opener alone; NoSuchCard, Busy, or Failed for a file that is no card of ours."""
        name = checked_name(untrusted_name)
        if not self.directory.exists():
            raise no_such_card(name)
        folder = Folder(self.directory)
        lock = None
        try:
            read_card(folder, name)
            lock = _locked(folder, name)
            data = read_card(folder, name)
            context = SealContext(data.identity, self._key(folder, make=False))
            _check_key(data, context)
        except BaseException:
            if lock is not None:
                os.close(lock)
            folder.close()
            raise
        return OpenCard(folder, lock, data, context)

    def delete(self, untrusted_name: str) -> None:
        """Remove the card for good, damaged or not; NoSuchCard, or Busy while somebody has it open."""
        name = checked_name(untrusted_name)
        if name not in self.names():
            raise no_such_card(name)
        with Folder(self.directory) as folder, folder.alone():
            lock = _locked(folder, name)
            try:
                folder.remove(name + CARD, name + CARD + TEMPORARY, name + LOCK)
            finally:
                os.close(lock)

    def _key(self, folder: Folder, *, make: bool) -> bytes:
        if self._credential is not None:
            return sha256(b"virtcard store credential\0" + self._credential).digest()
        key = folder.read(STORE_KEY, KEY_BYTES)
        if key is None and make and not card_names(folder):
            key = os.urandom(KEY_BYTES)
            folder.write(STORE_KEY, key)
        if key is None or len(key) != KEY_BYTES:
            raise Failed(
                f"The key of the cards, {self.directory / STORE_KEY}, is missing or damaged.",
                hint="Bring it back from a backup, or start virtcardd when its unit has a credential for it.",
            )
        return key


class OpenCard:
    """A card that is open: `data` is what is on disk, and nobody else changes it until `close`."""

    def __init__(self, folder: Folder, lock: int, data: CardData, context: SealContext) -> None:
        self._folder = folder
        self._lock: int | None = lock
        self._data = data
        self.context = context

    def __enter__(self) -> OpenCard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> CardData:
        """The card as it is on disk."""
        return self._data

    def save(self, data: CardData) -> None:
        """Keep the card: when this returns it is on disk. Failed otherwise, and what was there before still holds; only
        after Unsettled the new one does, and a crash may bring back the one before."""
        if self._lock is None:
            raise Failed("The card is closed.")
        try:
            self._folder.write(self._data.name + CARD, encoded(data))
        except Unsettled:
            self._data = data
            raise
        self._data = data

    def close(self) -> None:
        """Let others open it. Any number of times."""
        if self._lock is not None:
            os.close(self._lock)
            self._folder.close()
            self._lock = None


def _check_key(data: CardData, context: SealContext) -> None:
    """With another key every PIN would be wrong, and cost a try."""
    if data.store_key_id != store_key_id(context.store_key):
        raise Failed(
            f"The card {data.name} was made with another store key.",
            hint=f"Give back the credential or the {STORE_KEY} that it was made with.",
        )


def _locked(folder: Folder, name: str) -> int:
    lock = folder.lock(name + LOCK)
    if lock is None:
        raise Busy(f"The card {name} is in use.", hint="Eject it first: virtcard eject VM")
    return lock
