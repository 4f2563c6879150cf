"""The names of users, which may have to come over a network."""

from __future__ import annotations

import asyncio
import pwd
from typing import Final

from virtcard.errors import Failed
from virtcard.service.threads import start

NAME_PATIENCE: Final = 1.0
"""Seconds; then it has to do without."""


async def known_name(uid: int) -> str:
    """The name of a user, "" when nobody knows it in time."""
    try:
        async with asyncio.timeout(NAME_PATIENCE):
            return await asyncio.wrap_future(start(_name, uid))
    except (TimeoutError, Failed):
        return ""


def in_words(uid: int) -> str:
    """A user without a name, for people."""
    return f"uid {uid}"


def name_of(uid: int) -> str:
    """The name of a user, or the number in words: to be called where it may block."""
    return _name(uid) or in_words(uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
