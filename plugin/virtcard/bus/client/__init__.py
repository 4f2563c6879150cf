"""The door to the daemon for programs that do not live in an event loop: the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from dbus_next.constants import MessageFlag, MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message

from virtcard import limits
from virtcard.bus.address import BusKind
from virtcard.bus.confide import confide
from virtcard.bus.connection import Bus
from virtcard.bus.failures import to_virtcard_error
from virtcard.bus.standard import OBJECT_MANAGER, PROPERTIES
from virtcard.bus.values import plain, wrap
from virtcard.errors import Disconnected, InvalidArgument, TimedOut
from virtcard.names import BUS_NAME, MANAGER, ROOT_PATH

T = TypeVar("T")

Objects = dict[str, dict[str, dict[str, Any]]]
"""Object path -> interface -> property -> plain value."""

EventKind = Literal["added", "removed", "changed"]

_SIGNALS = f"type='signal',sender='{BUS_NAME}',path_namespace='{ROOT_PATH}'"
_OWNER = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{BUS_NAME}'"


@dataclass(frozen=True, slots=True)
class Event:
    """One interface of one object came, went, or changed; `properties` holds all, none, or the changed ones."""

    kind: EventKind
    path: str
    interface: str
    properties: dict[str, Any] = field(default_factory=dict)


class Client:
    """A connection to virtcardd. Blocking, for one thread; a context manager that closes it."""

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus = bus
        self._loop = loop
        self._owner = ""
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listening = False

    @classmethod
    def open(cls, bus: str = "system") -> Self:
        """Connect to the daemon on the "system" or "session" bus, which starts it when it is installed.

        Disconnected when the bus or the daemon is not there."""
        loop = asyncio.new_event_loop()
        try:
            client = cls(loop.run_until_complete(Bus.open(BusKind(bus))), loop)
        except BaseException:
            loop.close()
            raise
        try:
            client._find_daemon()
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        """End the connection."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._bus.close())
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def find_domain(self, text: str) -> str:
        """The object path of the domain with this id, UUID or name; NoSuchDomain."""
        return str(self.call(ROOT_PATH, MANAGER, "FindDomain", "s", (text,))[0])

    def objects(self) -> Objects:
        """Every object below the root, with its properties."""
        objects: Objects = self.call(ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")[0]
        return objects

    def properties(self, path: str, interface: str) -> dict[str, Any]:
        """The properties of one interface of one object."""
        properties: dict[str, Any] = self.call(path, PROPERTIES, "GetAll", "s", (interface,))[0]
        return properties

    def call(  # noqa: PLR0917
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        timeout: float | None = limits.BUS_CALL_PATIENCE,
    ) -> list[Any]:
        """Call a method of the daemon; plain values in and out (a `v` takes bool, int, str, float, bytes, list[str]).

        `timeout` is in seconds; None waits for as long as a person thinks over a password dialog.
        Errors are the VirtcardError that the daemon raised, TimedOut, NotAuthorized or Disconnected."""
        return self._run(self._call(path, interface, member, signature, body, timeout))

    def confide(
        self,
        path: str,
        interface: str,
        member: str,
        *,
        signature: str,
        body: Sequence[Any],
        secrets: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Call a method that answers with a one-time socket, and tell the secrets there; its outcome.

        Errors are those of `call`. A person may have to answer polkit's dialog first."""
        (socket,) = self.call(path, interface, member, signature, body, limits.CALL_PATIENCE)
        return confide(str(socket), secrets)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """What happens from this call on, in order; ends after `timeout` seconds in all, or never.

        Listening starts before this returns: call `objects()` after it, and nothing falls between the two.
        Disconnected when the daemon goes away."""
        if not self._listening:
            self._listening = True
            self._run(self._listen())
        return self._iterate(None if timeout is None else monotonic() + timeout)

    def _iterate(self, deadline: float | None) -> Iterator[Event]:
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            try:
                event = self._run(asyncio.wait_for(self._events.get(), left))
            except TimeoutError:
                return
            if event is None:
                raise Disconnected("virtcardd went away.", hint="It may be restarting: try again.")
            yield event

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise Disconnected("This connection is closed.")
        return self._loop.run_until_complete(work)

    async def _call(  # noqa: PLR0917
        self,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
        timeout: float | None,
    ) -> list[Any]:
        flags = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
        try:
            values = wrap(signature, list(body))
            reply = await self._bus.ask(
                BUS_NAME, path, interface, member, signature, values, timeout=timeout, flags=flags
            )
        except DBusError as error:
            raise to_virtcard_error(error, path) from error
        except TimedOut as error:
            raise TimedOut("virtcardd did not answer in time.", hint="Look into its journal.") from error
        except UnicodeError as error:
            raise InvalidArgument(
                "What was given is no text in this locale.", hint="Set LC_ALL to one of UTF-8, such as C.UTF-8."
            ) from error
        except (TypeError, ValueError) as error:
            # dbus-next: names, paths and values that D-Bus cannot carry, before anything is sent
            raise InvalidArgument("A value cannot be sent over D-Bus.") from error
        return [plain(value) for value in reply]

    def _find_daemon(self) -> None:
        self._run(self._start_daemon())

    async def _start_daemon(self) -> None:
        try:
            # dbus-daemon knows only names with an activation file here, even when somebody owns the name
            if not (await self._bus.ask_bus("NameHasOwner", "s", [BUS_NAME]))[0]:
                await self._bus.ask_bus("StartServiceByName", "su", [BUS_NAME, 0])
            self._owner = str((await self._bus.ask_bus("GetNameOwner", "s", [BUS_NAME]))[0])
        except DBusError as error:
            raise to_virtcard_error(error) from error

    async def _listen(self) -> None:
        self._bus.add_message_handler(self._on_message)
        self._bus.spawn(self._report_end())
        for rule in (_OWNER, _SIGNALS):
            await self._bus.ask_bus("AddMatch", "s", [rule])

    async def _report_end(self) -> None:
        await self._bus.wait_closed()
        self._events.put_nowait(None)

    def _on_message(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "NameOwnerChanged" and message.sender == "org.freedesktop.DBus":
            if message.body[0] == BUS_NAME and message.body[1] == self._owner:
                self._events.put_nowait(None)
        elif message.sender == self._owner:
            for event in _events_of(message):
                self._events.put_nowait(event)


def _events_of(signal: Message) -> Iterator[Event]:
    body = plain(signal.body)
    match (signal.interface, signal.member, signal.signature):
        case (name, "InterfacesAdded", "oa{sa{sv}}") if name == OBJECT_MANAGER:
            for interface, properties in body[1].items():
                yield Event("added", body[0], interface, properties)
        case (name, "InterfacesRemoved", "oas") if name == OBJECT_MANAGER:
            for interface in body[1]:
                yield Event("removed", body[0], interface)
        case (name, "PropertiesChanged", "sa{sv}as") if name == PROPERTIES:
            yield Event("changed", signal.path, body[0], body[1])
