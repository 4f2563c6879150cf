"""Where the buses are."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Final

from virtcard.errors import Disconnected

SYSTEM_BUS_DEFAULT: Final = "unix:path=/run/dbus/system_bus_socket"


class BusKind(StrEnum):
    """Which bus, and so which instance of the daemon."""

    SYSTEM = "system"
    SESSION = "session"


def bus_address(kind: BusKind) -> str:
    """The address of a bus; Disconnected when this login has none.

    dbus-next does not know the user bus of systemd: without the variable it demands an X11 display.
    """
    if kind is BusKind.SYSTEM:
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS_DEFAULT
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS") or _user_bus()
    if not address:
        raise Disconnected(
            "There is no session bus here.", hint="Log in to a session, or set DBUS_SESSION_BUS_ADDRESS."
        )
    return address


def _user_bus() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    path = os.path.join(runtime, "bus")
    return f"unix:path={path}" if runtime and os.path.exists(path) else ""
