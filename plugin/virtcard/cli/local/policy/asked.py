"""What the policy is asked, from the words of a command line and from what the chosen virtcardd knows."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from virtcard.card.reader import ReaderInfo
from virtcard.card.reader_source import choose
from virtcard.cli import shapes
from virtcard.cli.options import Choice
from virtcard.domain.metadata import check_source
from virtcard.errors import Disconnected, NoSuchReader
from virtcard.names import DOMAIN
from virtcard.policy.decide import Request

READER = "reader:"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what of it is only assumed."""

    request: Request
    notes: tuple[str, ...] = ()


def asked(choice: Choice, vm: str, source: str, user: str | None) -> Asked:
    """The request of a call `insert VM SOURCE` by this user; NoSuchDomain when virtcardd knows none like that.

    Without virtcardd the domain is taken by its words alone."""
    check_source(source)
    name = user or _own_name()
    try:
        with choice.open() as client:
            domain = shapes.domain(client.properties(client.find_domain(vm), DOMAIN))
            readers = shapes.readers(client.objects())
    except Disconnected:
        note = "virtcardd does not run, so the domain is taken by its name, without tags, and no reader is known."
        return Asked(Request(_uuid(vm), vm, user=name, source=source), (note,))
    request = Request(UUID(domain["uuid"]), domain["name"], frozenset(domain["tags"]), name, source)
    return _with_reader(request, readers) if source.startswith(READER) else Asked(request)


def _with_reader(request: Request, readers: Sequence[shapes.Reader]) -> Asked:
    known = [ReaderInfo(each["name"], each["present"], bytes.fromhex(each["atr"])) for each in readers]
    try:
        reader = choose(known, request.source.removeprefix(READER))
    except NoSuchReader as error:
        return Asked(request, (f"{error.message} It is taken as it was written.",))
    return Asked(replace(request, reader=reader.name, atr=reader.atr))


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _uuid(vm: str) -> UUID:
    try:
        return UUID(vm)
    except ValueError:
        return UUID(int=0)
