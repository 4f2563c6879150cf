"""Who calls. dbus-next tells its handlers neither the sender nor the flags of a call."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from dbus_next.constants import MessageFlag
from dbus_next.message import Message

from virtcard.errors import NotAuthorized, TimedOut
from virtcard.service.users import in_words, looked_up


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer that sent the call in work. `sender` is its unique name; `interactive` allows to ask a person."""

    sender: str
    interactive: bool


@dataclass(frozen=True, slots=True)
class User:
    """Whose call it is. `name` is the number in words when nobody knows it by name."""

    uid: int
    name: str


NAME_PATIENCE: Final = 5.0
"""Seconds for a user's name, which may have to come over a network; without it nothing is done."""

_CALLER: ContextVar[Caller] = ContextVar("caller")
_USER: ContextVar[User] = ContextVar("user")


def note_caller(call: Message) -> Caller:
    """Remember who sent `call`, for the current task and those that it starts."""
    flag = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
    caller = Caller(call.sender or "", bool(call.flags & flag))
    _CALLER.set(caller)
    return caller


def current_caller() -> Caller:
    """Who sent the call in work; NotAuthorized when nobody did, so that a mistake of ours never opens a door."""
    caller = _CALLER.get(None)
    if caller is None or not caller.sender:
        raise NotAuthorized("Nobody is known to have called.")
    return caller


def note_user(user: User) -> None:
    """Remember whose call is in work, for the current task and those that it starts."""
    _USER.set(user)


def known_user() -> User | None:
    """Whose call is in work, if the gate has found that out."""
    return _USER.get(None)


def current_user() -> User:
    """Whose call is in work; NotAuthorized when the gate has not found that out."""
    user = known_user()
    if user is None:
        raise NotAuthorized("Nobody is known to have called.")
    return user


def calling_user() -> int:
    """The uid of whose call is in work; NotAuthorized when the gate has not found that out."""
    return current_user().uid


async def named_user(uid: int) -> User:
    """The user with this number. TimedOut when the name does not come in time: rules may allow or deny by it."""
    try:
        async with asyncio.timeout(NAME_PATIENCE):
            return User(uid, await asyncio.wrap_future(looked_up(uid)) or in_words(uid))
    except TimeoutError:
        if uid == 0:
            return User(uid, "root")
        hint = f"'getent passwd {uid}' must answer within {NAME_PATIENCE:g} seconds."
        raise TimedOut(f"The name of user {uid} was not found in time, and rules may name users.", hint=hint) from None
