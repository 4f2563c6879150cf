"""Which card a call put in which domain: the one thing a restarted daemon cannot read back from libvirt.

A small JSON file in the runtime directory, gone with the host's next boot:
`{"<uuid>": {"source": "<source>", "user": "<who called>", "consent": "<what was said yes to>"}}`, where an empty source
says that the card was ejected although the metadata asks for one. A hot-plugged reader has "<uuid>/<slot>" for its key.
It holds for the running machine: a domain that is off is not in it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from virtcard.errors import Failed

log = logging.getLogger(__name__)

FILE_NAME = "insertions.json"


class Insertion(msgspec.Struct, frozen=True):
    """What a call did: it put `source` in, or took everything out."""

    source: str
    user: str = ""
    """Who called."""
    consent: str = ""
    """What a person said yes to before it went in, see `permission.consent_to`."""


EJECTED: Final = Insertion("")


class Insertions:
    """The record, in memory and on disk. What is put in is on disk when the method returns; the rest never fails."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._known = _read(self._path)

    def get(self, uuid: UUID, slot: int = 0) -> Insertion | None:
        """What the last call did; None when no call was made."""
        return self._known.get(_key(uuid, slot))

    def forget_all_but(self, uuids: Collection[UUID]) -> None:
        """Forget the domains that do not exist any more."""
        existing = {str(uuid) for uuid in uuids}
        self._keep(lambda key: _uuid(key) in existing)

    def put_back(self, uuid: UUID, insertion: Insertion | None, slot: int = 0) -> None:
        """Make it as `get` said before."""
        if insertion is None:
            self.drop_slot(uuid, slot)
        else:
            self.note(uuid, insertion, slot)

    def put(self, uuid: UUID, insertion: Insertion, slot: int = 0) -> None:
        """Remember an insert; Failed when that is not possible."""
        self._write({**self._known, _key(uuid, slot): insertion})

    def note(self, uuid: UUID, insertion: Insertion, slot: int = 0) -> None:
        """Remember what has happened already, or must: an eject (EJECTED) has no need of a disk."""
        self._forget({**self._known, _key(uuid, slot): insertion})

    def drop(self, uuid: UUID) -> None:
        """Forget a domain."""
        self._keep(lambda key: _uuid(key) != str(uuid))

    def drop_slot(self, uuid: UUID, slot: int) -> None:
        """Forget one reader of a domain."""
        self._keep(lambda key: key != _key(uuid, slot))

    def _keep(self, wanted: Callable[[str], bool]) -> None:
        kept = {key: each for key, each in self._known.items() if wanted(key)}
        if len(kept) < len(self._known):
            self._forget(kept)

    def _forget(self, known: dict[str, Insertion]) -> None:
        """Rather no record at all than one that puts in, after a restart, what nobody asked for any more.

        On a full disk the old one may leave just enough room for the new one."""
        self._known = known
        try:
            self._write(known)
        except Failed:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._write_again(known)

    def _write_again(self, known: dict[str, Insertion]) -> None:
        try:
            self._write(known)
        except Failed as error:
            log.warning("%s What calls put in is not put in again after a restart.", error.message)

    def _write(self, known: dict[str, Insertion]) -> None:
        partial = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(known))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise Failed(f"Cannot write {self._path}: {error.strerror}.", hint=self._mend()) from error
        self._known = known

    def _mend(self) -> str:
        if self._path.parent.is_dir():
            return "Make room or mend the permissions, and try again."
        return "Start virtcardd again: 'systemctl restart virtcardd' makes the directory."


def _key(uuid: UUID, slot: int) -> str:
    return f"{uuid}/{slot}" if slot else str(uuid)


def _uuid(key: str) -> str:
    return key.partition("/")[0]


def _read(path: Path) -> dict[str, Insertion]:
    """A file that is missing or damaged is an empty record: nothing is inserted that nobody can vouch for."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Insertion])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
