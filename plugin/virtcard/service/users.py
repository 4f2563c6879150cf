"""The names of users, which may have to come over a network."""

from __future__ import annotations

import asyncio
import pwd
from concurrent.futures import Future
from typing import Final

from virtcard.errors import Failed
from virtcard.service.threads import start

NAME_PATIENCE: Final = 1.0
"""Seconds; then it has to do without."""

_running: Final[dict[int, Future[str]]] = {}
"""Looks that go on, by uid."""


async def known_name(uid: int) -> str:
    """The name of a user, "" when nobody knows it in time."""
    try:
        async with asyncio.timeout(NAME_PATIENCE):
            return await asyncio.wrap_future(looked_up(uid))
    except (TimeoutError, Failed):
        return ""


def looked_up(uid: int) -> Future[str]:
    """The same without an end to the waiting. A look that goes on is shared, so that who calls again and again leaves
    no thread behind each time."""
    running = _running.get(uid)
    if running is None or running.done():
        running = _running[uid] = start(_name, uid)
        running.add_done_callback(lambda _: _running.pop(uid, None))
    return running


def in_words(uid: int) -> str:
    """A user without a name, for people."""
    return f"uid {uid}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
