"""virtcardd on one bus: its objects as they are now, and calls to it. Nothing here waits.

(Gio.DBusObjectManagerClient calls a new owner of the name and waits for it, and the window with it.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from virtcard_gtk.sentences import Problem, problem
from virtcard_gtk.toolkit import Gio, GLib

BUS_NAME: Final = "org.virtcard1"
ROOT_PATH: Final = "/org/virtcard1"
MANAGER: Final = "org.virtcard1.Manager"
OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
FOREVER: Final = 2**31 - 1
"""Milliseconds: a person may be asked meanwhile."""

_REMOTE: Final = re.compile(r"GDBus\.Error:([\w.]+): (.*)", re.DOTALL)
"""How GLib puts an error of the other side in words."""

Done = Callable[[list[Any]], None]
Failed = Callable[[Problem], None]


class Daemon:
    """`on_change` is called when `objects` changed. `present` is whether there is a daemon whose objects are known."""

    def __init__(self, bus_type: Any, on_change: Callable[[Daemon], None]) -> None:
        self.bus_type = bus_type
        self.present = False
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self._on_change = on_change
        self._connection: Any = None
        self._owner = ""
        self._subscriptions: list[int] = []
        Gio.bus_get(bus_type, None, self._connected)

    def call(
        self,
        path: str,
        interface: str,
        method: str,
        parameters: Any = None,
        *,
        done: Done,
        failed: Failed = lambda _problem: None,
    ) -> None:
        """Call a method; one of both is called afterwards."""
        if not self._owner:
            failed(problem("", ""))
            return

        def finish(connection: Any, result: Any) -> None:
            try:
                values = connection.call_finish(result).unpack()
            except GLib.Error as error:
                failed(_told(error))
            else:
                done(list(values))

        flags = Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION
        self._connection.call(self._owner, path, interface, method, parameters, None, flags, FOREVER, None, finish)

    def _connected(self, _source: Any, result: Any) -> None:
        try:
            self._connection = Gio.bus_get_finish(result)
        except GLib.Error:
            return  # there is no such bus
        Gio.bus_watch_name_on_connection(
            self._connection,
            BUS_NAME,
            Gio.BusNameWatcherFlags.AUTO_START,
            lambda _connection, _name, owner: self._appeared(owner),
            lambda _connection, _name: self._vanished(),
        )

    def _appeared(self, owner: str) -> None:
        self._forget()
        self._owner = owner
        self._subscribe(OBJECT_MANAGER, None, ROOT_PATH, self._managed)
        self._subscribe(PROPERTIES, "PropertiesChanged", None, self._changed)

        def loaded(values: list[Any]) -> None:
            if owner == self._owner:
                self.objects = values[0]
                self.present = True
                self._on_change(self)

        self.call(ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects", done=loaded)

    def _vanished(self) -> None:
        self._forget()
        self._on_change(self)

    def _forget(self) -> None:
        for number in self._subscriptions:
            self._connection.signal_unsubscribe(number)
        self._subscriptions = []
        self._owner = ""
        self.objects = {}
        self.present = False

    def _subscribe(
        self, interface: str, member: str | None, path: str | None, heard: Callable[[str, str, Any], bool]
    ) -> None:
        def listen(_connection: Any, _sender: str, source: str, _interface: str, name: str, parameters: Any) -> None:
            if self.present and heard(source, name, parameters):
                self._on_change(self)

        none = Gio.DBusSignalFlags.NONE
        number = self._connection.signal_subscribe(self._owner, interface, member, path, None, none, listen)
        self._subscriptions.append(number)

    def _managed(self, _source: str, name: str, parameters: Any) -> bool:
        kind = parameters.get_type_string()
        if name == "InterfacesAdded" and kind == "(oa{sa{sv}})":
            path, interfaces = parameters.unpack()
            self.objects.setdefault(path, {}).update(interfaces)
            return True
        if name == "InterfacesRemoved" and kind == "(oas)":
            path, names = parameters.unpack()
            there = self.objects.get(path, {})
            for each in names:
                there.pop(each, None)
            if not there:
                self.objects.pop(path, None)
            return True
        return False

    def _changed(self, source: str, _name: str, parameters: Any) -> bool:
        if parameters.get_type_string() != "(sa{sv}as)":
            return False
        interface, changed, _invalidated = parameters.unpack()
        there = self.objects.get(source, {}).get(interface)
        if there is None:
            return False
        there.update(changed)
        return True


def _told(error: Any) -> Problem:
    remote = _REMOTE.fullmatch(error.message)
    return problem(remote[1], remote[2]) if remote else problem("", "")
