"""Errors across the bus: VirtcardError <-> D-Bus error names and texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from dbus_next.constants import ErrorType
from dbus_next.errors import DBusError
from dbus_next.message import Message

from virtcard.bus.values import text
from virtcard.errors import (
    Busy,
    Disconnected,
    Failed,
    Internal,
    NoSuchCard,
    NoSuchDomain,
    NotAuthorized,
    TimedOut,
    Unsupported,
    VirtcardError,
)
from virtcard.names import ERROR_PREFIX, ROOT_PATH, card_name

log = logging.getLogger(__name__)

INTERNAL_TEXT: Final = "Internal error; see the journal."

LEAKY: Final = frozenset({ErrorType.SERVICE_ERROR.value, ErrorType.INTERNAL_ERROR.value})
"""Errors that dbus-next fills with the exception and its traceback."""

_FREEDESKTOP: Final = "org.freedesktop.DBus.Error."
_START: Final = "Start it with 'systemctl start virtcardd' (or 'virtcardd --session' for your own machines)."
_BUS_POLICY: Final = "Is org.virtcard1.conf in /usr/share/dbus-1/system.d? 'virtcard doctor' looks."
_VERSIONS: Final = "Restart the daemon if virtcard was upgraded."

_BUS_ERRORS: Final[dict[str, tuple[type[VirtcardError], str, str]]] = {
    "NoReply": (TimedOut, "The daemon did not answer in time.", "Look into its journal: journalctl -u virtcardd"),
    "Timeout": (TimedOut, "The daemon did not answer in time.", "Look into its journal: journalctl -u virtcardd"),
    "TimedOut": (TimedOut, "The daemon did not start in time.", "Look into its journal: journalctl -u virtcardd"),
    "AccessDenied": (NotAuthorized, "The bus does not let this user do that.", _BUS_POLICY),
    "AuthFailed": (NotAuthorized, "The bus does not let this user do that.", ""),
    "InteractiveAuthorizationRequired": (NotAuthorized, "This needs a password, and nobody can be asked.", ""),
    "ServiceUnknown": (Disconnected, "virtcardd does not run.", _START),
    "NameHasNoOwner": (Disconnected, "virtcardd does not run.", _START),
    "Disconnected": (Disconnected, "The bus went away.", ""),
    "NoServer": (Disconnected, "The bus is not there.", ""),
    "LimitsExceeded": (Busy, "The bus has too much to do.", "Try again."),
    "UnknownMethod": (Unsupported, "The running daemon does not know this call.", _VERSIONS),
    "UnknownInterface": (Unsupported, "The running daemon does not know this call.", _VERSIONS),
    "UnknownProperty": (Unsupported, "The running daemon does not know this property.", _VERSIONS),
    "InvalidArgs": (Unsupported, "The running daemon does not take these arguments.", _VERSIONS),
    "UnknownObject": (Failed, "The object is not there any more.", ""),
}


def to_message(call: Message, error: BaseException) -> Message:
    """The error reply to `call`: our own sentences go out, anything else stays in the journal."""
    if isinstance(error, VirtcardError):
        sentence = f"{error.message}\n{error.hint}" if error.hint else error.message
        return Message.new_error(call, error.dbus_name(), text(sentence))
    if isinstance(error, DBusError):
        return Message.new_error(call, error.type, text(error.text))
    log.error("%s.%s failed", call.interface, call.member, exc_info=error)
    return Message.new_error(call, Internal.dbus_name(), INTERNAL_TEXT)


def from_message(reply: Message) -> DBusError:
    """The error that a reply carries; dbus-next's own fails on one without a text."""
    sentence = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
    return DBusError(reply.error_name, sentence)


def to_virtcard_error(error: DBusError, path: str = ROOT_PATH) -> VirtcardError:
    """What a D-Bus error of our daemon, or of the bus on the way to it, means to a person."""
    if error.type.startswith(ERROR_PREFIX):
        message, _, hint = error.text.partition("\n")
        return _classes().get(error.type, Failed)(message, hint=hint)
    if error.type == ErrorType.UNKNOWN_OBJECT.value and path.startswith(f"{ROOT_PATH}/domain/"):
        return NoSuchDomain("The domain is not there any more.", hint="List them: virtcard list")
    if error.type == ErrorType.UNKNOWN_OBJECT.value and path.startswith(f"{ROOT_PATH}/card/"):
        return NoSuchCard(f"There is no card {card_name(path)}.", hint="'virtcard card list' shows the cards.")
    word = error.type.removeprefix(_FREEDESKTOP)
    if word.startswith("Spawn."):
        return Disconnected("virtcardd could not be started.", hint="Look into its journal: journalctl -u virtcardd")
    kind, message, hint = _BUS_ERRORS.get(word, (Failed, f"The bus answered {error.type}.", ""))
    return kind(message, hint=hint)


def _classes() -> dict[str, type[VirtcardError]]:
    kinds: list[type[VirtcardError]] = [*_subclasses(VirtcardError), Failed]
    return {kind.dbus_name(): kind for kind in kinds if kind is Failed or "kind" in vars(kind)}


def _subclasses(kind: type[VirtcardError]) -> Iterator[type[VirtcardError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
