"""The standard interfaces where dbus-next answers wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dbus_next.constants import ErrorType, MessageFlag, MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.signature import Variant

from virtcard.bus.failures import to_message
from virtcard.bus.shown import Shown

if TYPE_CHECKING:
    from virtcard.bus.connection import Bus

OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
PEER: Final = "org.freedesktop.DBus.Peer"

_MACHINE_ID: Final = (Path("/var/lib/dbus/machine-id"), Path("/etc/machine-id"))


def answer(bus: Bus, message: Message) -> Message | bool | None:
    """The reply to a call that dbus-next would answer wrongly; True for one that wants none, None for the others."""
    if message.message_type is not MessageType.METHOD_CALL:
        return None
    try:
        reply = _reply(bus, message)
    except Exception as error:  # noqa: BLE001 - dbus-next would send the traceback
        reply = to_message(message, error)
    if reply is not None and message.flags & MessageFlag.NO_REPLY_EXPECTED:
        return True
    return reply


def _reply(bus: Bus, call: Message) -> Message | None:
    if call.interface == PEER:
        return _machine_id(call) if call.member == "GetMachineId" else None
    if call.interface == INTROSPECTABLE:
        return None
    exports = bus.exports()
    if call.path not in exports:
        raise DBusError(ErrorType.UNKNOWN_OBJECT, f"there is no object at {call.path}")
    if call.interface == OBJECT_MANAGER:
        return _managed_objects(bus, call)
    return None


def _machine_id(call: Message) -> Message:
    """dbus-next asks the bus, and fails from the second call on."""
    for path in _MACHINE_ID:
        if path.exists():
            return Message.new_method_return(call, "s", [path.read_text(encoding="ascii").strip()])
    raise DBusError(ErrorType.FAILED, "this machine has no id")


def _managed_objects(bus: Bus, call: Message) -> Message:
    """dbus-next answers on any path, and in a time that grows with the square of the number of objects."""
    if call.path != bus.root:
        raise DBusError(ErrorType.UNKNOWN_INTERFACE, f"only {bus.root} manages objects")
    if call.member != "GetManagedObjects" or call.signature:
        raise DBusError(ErrorType.UNKNOWN_METHOD, "the only method is GetManagedObjects, without arguments")
    objects: dict[str, dict[str, dict[str, Variant]]] = {
        path: {each.name: each.values() for each in interfaces if isinstance(each, Shown)}
        for path, interfaces in bus.exports().items()
        if path.startswith(f"{bus.root}/")
    }
    return Message.new_method_return(call, "a{oa{sa{sv}}}", [objects])
