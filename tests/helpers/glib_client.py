"""A GLib client in a process of its own: prints what its Gio.DBusObjectManagerClient sees, one JSON line each.

Run by /usr/bin/python3, which has PyGObject; GNOME Shell and GTK programs look at a service in this way.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from gi.repository import Gio, GLib

BUS_NAME = "org.virtcard1"
ROOT_PATH = "/org/virtcard1"


def tell(*what: Any) -> None:
    print(json.dumps(what), flush=True)


def interfaces(thing: Any) -> list[str]:
    return sorted(each.get_interface_name() for each in thing.get_interfaces())


def main(address: str) -> None:
    flags = Gio.DBusConnectionFlags
    connection = Gio.DBusConnection.new_for_address_sync(
        address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None
    )
    manager = Gio.DBusObjectManagerClient.new_sync(
        connection, Gio.DBusObjectManagerClientFlags.NONE, BUS_NAME, ROOT_PATH, None, None, None
    )
    for thing in manager.get_objects():
        tell("there", thing.get_object_path(), interfaces(thing))
    manager.connect("object-added", lambda _, thing: tell("added", thing.get_object_path(), interfaces(thing)))
    manager.connect("object-removed", lambda _, thing: tell("removed", thing.get_object_path()))
    manager.connect(
        "interface-proxy-properties-changed",
        lambda _, thing, proxy, changed, __: tell(
            "changed", thing.get_object_path(), changed.unpack(), proxy.get_cached_property("Name").unpack()
        ),
    )
    tell("ready")
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1])
