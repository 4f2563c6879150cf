"""The policy in use: read at the start, again when told or when its files change, and never half of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard.errors import PolicyBroken
from virtcard.limits import POLICY_PERIOD
from virtcard.policy.folders import Folders, files, load
from virtcard.policy.lint import lint
from virtcard.policy.load import Policy
from virtcard.policy.model import Rule
from virtcard.service.threads import start

log = logging.getLogger(__name__)

LINT: Final = "'virtcard policy lint' tells all that is wrong."


class PolicyState(StrEnum):
    """`DEGRADED`: the files are bad, and the last good policy is in use. `BROKEN`: there was none, so all is denied."""

    OK = "ok"
    DEGRADED = "degraded"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class _File:
    """What changes with a file or directory, or with who may write it."""

    path: str
    inode: int
    size: int
    changed: int


class Policies:
    """`rules` may be read from any thread; the rest belongs to the event loop's."""

    def __init__(self, folders: Folders, on_change: Callable[[], None]) -> None:
        self.rules: tuple[Rule, ...] = ()
        self.state = PolicyState.BROKEN
        self.error = "The policy has not been read yet."
        self._folders = folders
        self._on_change = on_change
        self._seen: tuple[_File, ...] | None = None
        self._reading = asyncio.Lock()

    async def reload(self) -> None:
        """Read all files anew. PolicyBroken when they are bad: the last good policy stays in use."""
        async with self._reading:
            self._seen, policy = await asyncio.wrap_future(start(_read, self._folders))
            self._take(policy)
        if self.state is not PolicyState.OK:
            raise PolicyBroken(self.error, hint=LINT)

    async def watch(self) -> None:
        """Reload whenever files change, until cancelled.

        The files are looked at, and not watched by inotify: half of the directories are usually not there, and network
        home directories tell nothing."""
        while True:
            await asyncio.sleep(POLICY_PERIOD)
            try:
                if await asyncio.wrap_future(start(_look, self._folders)) != self._seen:
                    await self.reload()
            except PolicyBroken:
                continue  # `_take` has logged it
            except Exception:
                log.exception("the policy cannot be watched")

    def _take(self, policy: Policy) -> None:
        errors = policy.errors
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            self.error = f"{errors[0]}{more}"
            self.state = PolicyState.BROKEN if self.state is PolicyState.BROKEN else PolicyState.DEGRADED
            use = "nothing is allowed" if self.state is PolicyState.BROKEN else "the last good policy is used"
            log.error("the policy is bad, so %s: %s", use, self.error)
        else:
            self.rules, self.state, self.error = policy.rules, PolicyState.OK, ""
            for warning in lint(policy.rules):
                log.warning("policy: %s", warning)
            log.info("policy: %d rules are in use", len(self.rules))
        self._on_change()


def _read(folders: Folders) -> tuple[tuple[_File, ...], Policy]:
    """The look comes first: what changes while we read is seen as a change later."""
    return _look(folders), load(folders)


def _look(folders: Folders) -> tuple[_File, ...]:
    return tuple(_status(path) for path in (*map(str, folders.all), *map(str, files(folders))))


def _status(path: str) -> _File:
    try:
        status = os.stat(path)
    except OSError:
        return _File(path, 0, 0, 0)
    return _File(path, status.st_ino, status.st_size, max(status.st_ctime_ns, status.st_mtime_ns))
