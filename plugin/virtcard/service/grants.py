"""Grants: what persons answered with "always". Each is a policy file of its own in the state directory, read after the
administrator's, so that their no beats it; whoever deletes the file takes the grant back."""

from __future__ import annotations

import glob
import hashlib
import logging
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from virtcard.card.soft.files import Folder, Stamp
from virtcard.errors import Failed, InvalidArgument, NoSuchGrant
from virtcard.limits import GRANTS_MAX, POLICY_FILE_MAX
from virtcard.policy.load import Document, parse
from virtcard.policy.model import NOWHERE, Action, AskFor, Rule
from virtcard.policy.patterns import atr_text
from virtcard.policy.write import toml_rule, toml_text
from virtcard.service.question import Question

log = logging.getLogger(__name__)

PREFIX: Final = "grant-"
SUFFIX: Final = ".toml"


@dataclass(frozen=True, slots=True)
class Grant:
    """One. It holds for the card with this ATR in this reader, or for this software card, and for its user alone."""

    id: str
    uid: int
    user: str
    uuid: UUID
    domain: str
    """The domain's name at that time."""
    source: str
    atr: str
    """As policy files have it: "3B:F8", "" for a software card."""
    operations: frozenset[AskFor]
    when: datetime


class Grants:
    """Belongs to the event loop's thread. There is no state but the files: one is read again when it has changed."""

    def __init__(self, directory: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._directory = directory
        self._now = now
        self._seen: dict[str, tuple[Stamp | None, Grant | None]] = {}
        """By name: the file as it was when it was read, and what it said."""

    def all(self) -> tuple[Grant, ...]:
        """Every one that can be read, by id."""
        if not self._directory.is_dir():
            return ()
        with Folder(self._directory) as folder:
            self._seen = {name: self._known(folder, name) for name in folder.names() if _is_grant(name)}
        return tuple(grant for _, grant in self._seen.values() if grant is not None)

    def _known(self, folder: Folder, name: str) -> tuple[Stamp | None, Grant | None]:
        stamp = folder.stamp(name)
        known = self._seen.get(name)
        if known is not None and stamp is not None and known[0] == stamp:
            return known
        return stamp, _read(folder, name[len(PREFIX) : -len(SUFFIX)])

    def get(self, number: str) -> Grant:
        """The one with this id; NoSuchGrant."""
        for grant in self.all():
            if grant.id == number:
                return grant
        raise NoSuchGrant(f"There is no grant {number[:32]!r}.", hint="List them: virtcard grants")

    def holds(self, question: Question, uid: int) -> bool:
        """This user has said "always" to this very question."""
        try:
            grant = next((each for each in self.all() if each.id == _id(question, uid)), None)
        except Failed as error:
            log.warning("%s", error.message)
            return False
        return grant is not None and question.operation in grant.operations

    def write(self, question: Question, uid: int, user: str) -> Grant:
        """Keep an "always" of this user, by uid and by name. Failed or InvalidArgument when that is not possible; there
        is no grant then."""
        if not user:
            raise Failed(f"The user with the id {uid} has no name.", hint="Rules need one.")
        number = _id(question, uid)
        grants = self.all()
        before = next((each for each in grants if each.id == number), None)
        if before is None and len(grants) >= GRANTS_MAX:
            raise Failed(f"There are {GRANTS_MAX} grants already.", hint="Take some back: virtcard grants revoke ID")
        operations = {question.operation} | (before.operations if before else frozenset())
        grant = Grant(
            number, uid, user, question.uuid, question.domain, question.source,
            atr_text(question.atr) if question.atr else "", frozenset(operations), self._now().replace(microsecond=0),
        )  # fmt: skip
        content = _content(grant, question.rule)
        with Folder(self._directory, make=True) as folder:
            try:
                folder.write(f"{PREFIX}{number}{SUFFIX}", content.encode())
            except Failed:
                if before is None:
                    with suppress(Failed):  # it is there, and may not be after the host's next start
                        folder.remove(f"{PREFIX}{number}{SUFFIX}")
                raise
        return grant

    def revoke(self, number: str) -> None:
        """Take one back; NoSuchGrant."""
        self.get(number)
        with Folder(self._directory) as folder:
            folder.remove(f"{PREFIX}{number}{SUFFIX}")


def granted_rule(grant: Grant, asked_by: Rule) -> Rule:
    """The rule of a grant: that which made us ask, for this one machine, card and user, less what was answered."""
    left = asked_by.ask_for - grant.operations
    return replace(
        asked_by,
        vm=str(grant.uuid),
        card=glob.escape(grant.source),
        atr=grant.atr,
        user=grant.user,
        action=Action.ASK if left else Action.ALLOW,
        ask_for=left or frozenset({AskFor.INSERT}),
        on_existing=None,
        monitor=None,
        place=NOWHERE,
    )


def _content(grant: Grant, asked_by: Rule) -> str:
    """The file; InvalidArgument when it would be no good policy, since that would spoil all of it."""
    rule = granted_rule(grant, asked_by)
    operations = ", ".join(toml_text(each) for each in sorted(grant.operations))
    text = "\n".join(
        [
            f'# Somebody at the machine said "always". Taken back by: virtcard grants revoke {grant.id}',
            "[grant]",
            f"uid = {grant.uid}",
            f"user = {toml_text(grant.user)}",
            f"uuid = {toml_text(str(grant.uuid))}",
            f"domain = {toml_text(_printable(grant.domain))}",
            f"source = {toml_text(grant.source)}",
            f"atr = {toml_text(grant.atr)}",
            f"operations = [{operations}]",
            f"when = {grant.when.isoformat()}",
            "",
            toml_rule(rule),
        ]
    )
    policy = parse([Document("", text)])
    if policy.problems or policy.rules != (rule,):
        raise InvalidArgument(f"A grant for {_printable(grant.source)} cannot be written as a rule.")
    return text


def _read(folder: Folder, number: str) -> Grant | None:
    """What a file says of itself; None, and a word in the log, when it is not one of ours."""
    try:
        content = folder.read(f"{PREFIX}{number}{SUFFIX}", POLICY_FILE_MAX) or b""
        return _grant(number, tomllib.loads(content.decode())["grant"])
    except (Failed, KeyError, TypeError, ValueError) as error:
        log.warning("the grant %s cannot be read: %s", number, type(error).__name__)
        return None


def _grant(number: str, values: dict[str, Any]) -> Grant:
    when = values["when"]
    if not isinstance(when, datetime):
        raise TypeError("no time")
    operations = frozenset(AskFor(each) for each in values["operations"])
    return Grant(
        number, int(values["uid"]), str(values["user"]), UUID(values["uuid"]), str(values["domain"]),
        str(values["source"]), str(values["atr"]), operations, when,
    )  # fmt: skip


def _is_grant(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def _id(question: Question, uid: int) -> str:
    """Of what is granted, so that the same is granted once."""
    what = "\0".join([str(question.uuid), question.source, question.atr.hex(), str(uid)])
    return hashlib.sha256(what.encode(errors="surrogatepass")).hexdigest()[:12]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
