"""The names of users, which may have to come over a network."""

from __future__ import annotations

import asyncio
import pwd
from typing import Final

from virtcard.service.threads import start

NAME_PATIENCE: Final = 1.0
"""Seconds; then the number has to do."""


async def user_name(uid: int) -> str:
    """The name of a user, for people; the number in words when nobody knows it in time."""
    try:
        async with asyncio.timeout(NAME_PATIENCE):
            return await asyncio.wrap_future(start(name_of, uid))
    except TimeoutError:
        return f"uid {uid}"


def name_of(uid: int) -> str:
    """The same without an end to the waiting: to be called where it may block."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
