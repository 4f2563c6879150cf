"""Who calls. dbus-next tells its handlers neither the sender nor the flags of a call."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from dbus_next.constants import MessageFlag
from dbus_next.message import Message

from virtcard.errors import NotAuthorized


@dataclass(frozen=True, slots=True)
class Caller:
    """The peer that sent the call in work. `sender` is its unique name; `interactive` allows to ask a person."""

    sender: str
    interactive: bool


_CALLER: ContextVar[Caller] = ContextVar("caller")


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
