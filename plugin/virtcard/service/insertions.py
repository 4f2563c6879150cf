"""What was put in and said yes to in a run of a machine: the one thing a new daemon cannot read back from libvirt.

A small JSON file in the runtime directory, gone with the host's next boot:
`{"<uuid>": {"run": {...}, "calls": {"<slot>": {"source": "<source>", "user": "<who called>", "consent": "<card>"}},
"consents": ["<card>", ...]}}`. A call's empty source says that the card was ejected although the metadata asks for one;
its consent is what a person said yes to for it, and the machine's consents are for its wish. All of it holds for the
run that it names: a domain that is off is not in it.
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

from virtcard.domain.run import Run
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


class Machine(msgspec.Struct, frozen=True):
    """One run of a machine."""

    run: Run | None
    """None when nobody has looked yet."""
    calls: dict[str, Insertion] = {}
    """By slot."""
    consents: tuple[str, ...] = ()
    """What persons said yes to that no call asked for."""

    @property
    def is_empty(self) -> bool:
        """There is nothing to remember."""
        return not self.calls and not self.consents


NOTHING: Final = Machine(None)


class Insertions:
    """The record, in memory and on disk. What is put in is on disk when the method returns; the rest never fails."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._known = _read(self._path)
        self._runs: dict[UUID, Run] = {}
        """Of the machines that were looked at."""

    def see(self, uuid: UUID, run: Run) -> bool:
        """Take note which run a machine is in. False when what there is was for another one: it is forgotten."""
        machine = self._machine(uuid)
        before = self._runs.get(uuid) or machine.run
        self._runs[uuid] = run
        if before is not None and run.is_other_than(before):
            self._set(uuid, NOTHING)
            return False
        if machine.run != run:
            self._set(uuid, machine)
        return True

    def go_on(self, uuid: UUID, run: Run) -> None:
        """The machine goes on in another run, as after a revert to a snapshot, and what there is goes on with it."""
        self._runs[uuid] = run
        self._set(uuid, self._machine(uuid))

    def get(self, uuid: UUID, slot: int = 0) -> Insertion | None:
        """What the last call did; None when no call was made."""
        return self._machine(uuid).calls.get(str(slot))

    def consents(self, uuid: UUID) -> frozenset[str]:
        """What persons said yes to in this run that no call asked for."""
        return frozenset(self._machine(uuid).consents)

    def give(self, uuid: UUID, consent: str) -> None:
        """Take note of such a yes."""
        machine = self._machine(uuid)
        if consent not in machine.consents:
            given = msgspec.structs.replace(machine, consents=(*machine.consents, consent))
            self._known = self._with(uuid, given)
            self._write_if_possible(self._known)

    def take_back(self, uuid: UUID) -> None:
        """Forget what was said yes to."""
        self._set(uuid, msgspec.structs.replace(self._machine(uuid), consents=()))

    def forget_all_but(self, uuids: Collection[UUID]) -> None:
        """Forget the domains that do not exist any more."""
        existing = {str(uuid) for uuid in uuids}
        self._keep(lambda key: key in existing)

    def put_back(self, uuid: UUID, insertion: Insertion | None, slot: int = 0) -> None:
        """Make it as `get` said before."""
        if insertion is None:
            self.drop_slot(uuid, slot)
        else:
            self.note(uuid, insertion, slot)

    def put(self, uuid: UUID, insertion: Insertion, slot: int = 0) -> None:
        """Remember an insert; Failed when that is not possible."""
        self._write(self._with(uuid, self._called(uuid, insertion, slot)))

    def note(self, uuid: UUID, insertion: Insertion, slot: int = 0) -> None:
        """Remember what has happened already, or must: an eject (EJECTED) has no need of a disk."""
        self._set(uuid, self._called(uuid, insertion, slot))

    def drop(self, uuid: UUID) -> None:
        """Forget a domain: its run is over."""
        self._runs.pop(uuid, None)
        self._set(uuid, NOTHING)

    def drop_slot(self, uuid: UUID, slot: int) -> None:
        """Forget one reader of a domain."""
        machine = self._machine(uuid)
        left = {key: each for key, each in machine.calls.items() if key != str(slot)}
        self._set(uuid, msgspec.structs.replace(machine, calls=left))

    def _machine(self, uuid: UUID) -> Machine:
        return self._known.get(str(uuid), NOTHING)

    def _called(self, uuid: UUID, insertion: Insertion, slot: int) -> Machine:
        machine = self._machine(uuid)
        return msgspec.structs.replace(machine, calls={**machine.calls, str(slot): insertion})

    def _with(self, uuid: UUID, machine: Machine) -> dict[str, Machine]:
        """All that is known, and this of one machine, in the run that it is in."""
        left = {key: each for key, each in self._known.items() if key != str(uuid)}
        if machine.is_empty:
            return left
        return {**left, str(uuid): msgspec.structs.replace(machine, run=self._runs.get(uuid, machine.run))}

    def _set(self, uuid: UUID, machine: Machine) -> None:
        if str(uuid) in self._known or not machine.is_empty:
            known = self._with(uuid, machine)
            if known != self._known:
                self._forget(known)

    def _keep(self, wanted: Callable[[str], bool]) -> None:
        kept = {key: each for key, each in self._known.items() if wanted(key)}
        if len(kept) < len(self._known):
            self._forget(kept)

    def _forget(self, known: dict[str, Machine]) -> None:
        """Rather no record at all than one that puts in, after a restart, what nobody asked for any more.

        On a full disk the old one may leave just enough room for the new one."""
        self._known = known
        try:
            self._write(known)
        except Failed:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._write_if_possible(known)

    def _write_if_possible(self, known: dict[str, Machine]) -> None:
        try:
            self._write(known)
        except Failed as error:
            log.warning("%s What was put in and said yes to is not known after a restart.", error.message)

    def _write(self, known: dict[str, Machine]) -> None:
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


def _read(path: Path) -> dict[str, Machine]:
    """A file that is missing or damaged is an empty record: nothing is inserted that nobody can vouch for."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Machine])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
