"""The service on a bus: objects that follow the registry's shelves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from dbus_next.message import Message

from virtcard.bus.agents import AgentDoor
from virtcard.bus.bouncer import Bouncer
from virtcard.bus.bridge import BridgeInterface
from virtcard.bus.card import CardInterface
from virtcard.bus.connection import Bus
from virtcard.bus.domain import DomainInterface
from virtcard.bus.manager import ManagerInterface
from virtcard.bus.reader import ReaderInterface
from virtcard.bus.shown import Shown
from virtcard.bus.standard import PROPERTIES
from virtcard.names import BUS_NAME, ROOT_PATH, bridge_path, card_path, domain_path, reader_path
from virtcard.service.api import Service
from virtcard.service.registry import Shelf
from virtcard.service.views import StatusView

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def serve(bus: Bus, service: Service) -> None:
    """Export the service, then own `org.virtcard1`: whoever sees the name finds every object.

    Busy when another daemon owns it, NotAuthorized when the bus's policy is not ours. Call it in the event loop's
    thread, where the registry is used too."""
    bus.gate = Bouncer(bus, service.record).admit
    announcer = Announcer(bus)
    bus.announces = False  # nobody looks before the name is ours, and thousands of signals take megabytes
    manager = ManagerInterface(service, service.status(), AgentDoor(bus, service.agents))
    announcer.add(ROOT_PATH, manager)
    service.listen_status(lambda view: _show_status(announcer, manager, view))
    registry = service.registry
    _Shelved(announcer, registry.domains, domain_path, lambda view: DomainInterface(service, view))
    _Shelved(announcer, registry.readers, reader_path, ReaderInterface)
    _Shelved(announcer, registry.bridges, lambda key: bridge_path(*key), BridgeInterface)
    _Shelved(announcer, registry.cards, card_path, lambda view: CardInterface(service.cards, view))
    bus.announces = True
    await bus.claim(BUS_NAME)


def _show_status(announcer: Announcer, manager: ManagerInterface, view: StatusView) -> None:
    manager.view = view
    announcer.mark(ROOT_PATH)


class Announcer:
    """Exports objects and tells what changed: at most one PropertiesChanged an object and turn of the event loop."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._told: dict[str, tuple[Shown[Any], dict[str, Any]]] = {}
        self._marked: dict[str, None] = {}

    def add(self, path: str, interface: Shown[Any]) -> None:
        """Export an object; InterfacesAdded leaves with it."""
        self._told[path] = (interface, interface.announced())
        self._bus.export(path, interface)

    def remove(self, path: str) -> None:
        """Take an object away; InterfacesRemoved leaves with it."""
        self._told.pop(path, None)
        self._marked.pop(path, None)
        self._bus.unexport(path)

    def mark(self, path: str) -> None:
        """The object may have changed: look at it when this turn is over."""
        if not self._marked:
            asyncio.get_running_loop().call_soon(self._tell_all)
        self._marked[path] = None

    def _tell_all(self) -> None:
        marked, self._marked = self._marked, {}
        for path in marked:
            self._tell(path)

    def _tell(self, path: str) -> None:
        interface, old = self._told[path]
        new = interface.announced()
        self._told[path] = (interface, new)
        changed = {name: new[name] for name in new if new[name] != old[name]}
        if changed:
            body = [interface.name, interface.wrapped(changed), []]
            self._bus.send(Message.new_signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body))


class _Shelved(Generic[K, V]):
    """The objects of one shelf."""

    def __init__(
        self, announcer: Announcer, shelf: Shelf[K, V], path_of: Callable[[K], str], make: Callable[[V], Shown[V]]
    ) -> None:
        self._announcer = announcer
        self._path_of = path_of
        self._make = make
        self._shown: dict[K, Shown[V]] = {}
        for key, view in shelf.items():
            self._follow(key, None, view)
        shelf.listen(self._follow)

    def _follow(self, key: K, _old: V | None, new: V | None) -> None:
        path = self._path_of(key)
        if new is None:
            del self._shown[key]
            self._announcer.remove(path)
        elif key in self._shown:
            self._shown[key].view = new
            self._announcer.mark(path)
        else:
            self._shown[key] = self._make(new)
            self._announcer.add(path, self._shown[key])
