"""A connection to a bus: calls out, and calls in through one guarded place.

It mends what dbus-next 0.2.3 does with calls, as `transport.py` does for what is below them. Private attributes of the
library are used in these two, `stream.py`, `values.py` and `shown.py` only.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NoReturn, Self

from dbus_next import introspection as intr
from dbus_next.constants import MessageFlag, MessageType, NameFlag, RequestNameReply
from dbus_next.errors import AuthError, DBusError
from dbus_next.message import Message
from dbus_next.service import ServiceInterface

from virtcard import limits
from virtcard.bus import standard
from virtcard.bus.address import BusKind, bus_address
from virtcard.bus.caller import note_caller
from virtcard.bus.failures import INTERNAL_TEXT, LEAKY, from_message, to_message
from virtcard.bus.shown import Shown
from virtcard.bus.transport import Transport
from virtcard.errors import Busy, Disconnected, Internal, NotAuthorized, TimedOut
from virtcard.names import ROOT_PATH

log = logging.getLogger(__name__)

Gate = Callable[[str, str, Mapping[str, str]], AbstractAsyncContextManager[None]]
"""Around each exported method, with interface, member and details for polkit; raises to refuse."""

_BUS: Final = "org.freedesktop.DBus"
_BUS_PATH: Final = "/org/freedesktop/DBus"


def _refuse(interface: str, member: str, details: Mapping[str, str]) -> NoReturn:  # noqa: ARG001
    raise NotAuthorized(f"Nobody may call {interface}.{member}.")


class Bus(Transport):
    """One connection to a bus; `root` is the object that manages the others.

    Exported methods run only after `gate` has let them pass: until one is set, nothing passes.
    """

    def __init__(self, address: str, *, kind: BusKind, root: str = ROOT_PATH) -> None:
        super().__init__(address)
        self.kind = kind
        self.root = root
        self.gate: Gate = _refuse
        self.announces = True
        """Tell of objects that are exported (InterfacesAdded)."""
        self.add_message_handler(lambda message: standard.answer(self, message))

    @classmethod
    async def open(cls, kind: BusKind, *, address: str = "") -> Self:
        """Connect to a bus; Disconnected when it is not there."""
        bus = None
        try:
            bus = cls(address or bus_address(kind), kind=kind)
            async with asyncio.timeout(limits.BUS_CONNECT_PATIENCE):
                await bus.connect()
        except (OSError, EOFError, AuthError, ValueError) as error:
            if bus is not None:
                bus._finalize()
            raise Disconnected(f"The {kind} bus cannot be reached.", hint="Is dbus running?") from error
        if not str(bus.unique_name).startswith(":"):
            # dbus-next takes the text of a refused Hello for our unique name
            await bus.close()
            raise Disconnected(f"The {kind} bus takes no more connections.")
        return bus

    async def claim(self, name: str) -> None:
        """Own `name`, or raise Busy or NotAuthorized; dbus-next queues for it without a word."""
        try:
            (reply,) = await self.ask_bus("RequestName", "su", [name, NameFlag.DO_NOT_QUEUE.value])
        except DBusError as error:
            raise NotAuthorized(
                f"This user may not own {name} on the {self.kind} bus.",
                hint=f"Is {name}.conf in /usr/share/dbus-1/system.d, and does the daemon run as its user?",
            ) from error
        if reply not in {RequestNameReply.PRIMARY_OWNER.value, RequestNameReply.ALREADY_OWNER.value}:
            raise self._owned(name)

    async def require_unowned(self, name: str) -> None:
        """Busy when somebody owns `name` already: ask before anything is done that the owner does too."""
        (owned,) = await self.ask_bus("NameHasOwner", "s", [name])
        if owned:
            raise self._owned(name)

    def _owned(self, name: str) -> Busy:
        stop = "systemctl --user stop virtcardd" if self.kind is BusKind.SESSION else "systemctl stop virtcardd"
        return Busy(f"Another virtcardd owns {name} on the {self.kind} bus.", hint=f"Stop it first: {stop}")

    async def ask_bus(self, member: str, signature: str = "", body: list[Any] | None = None) -> list[Any]:
        """Call a method of the bus itself."""
        return await self.ask(_BUS, _BUS_PATH, _BUS, member, signature, body or [])

    async def ask(  # noqa: PLR0917
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        timeout: float | None = limits.BUS_CALL_PATIENCE,
        flags: MessageFlag = MessageFlag.NONE,
    ) -> list[Any]:
        """Call a method and return its values. `timeout` is in seconds, None waits as long as it takes.

        DBusError for an error reply, TimedOut, or Disconnected when the bus goes away.
        """
        call = Message(destination, path, interface, member, signature=signature, body=body or [], flags=flags)
        try:
            async with asyncio.timeout(timeout):
                reply = await self._reply_to(call)
        except TimeoutError as error:
            raise TimedOut(f"{destination} did not answer in time.") from error
        if reply.message_type is MessageType.ERROR:
            raise from_message(reply)
        return list(reply.body)

    async def _reply_to(self, call: Message) -> Message:
        if not self.connected:
            raise Disconnected("The bus went away.")
        call.serial = self.next_serial()
        future: asyncio.Future[Message] = self._loop.create_future()

        def done(reply: Message | None, _error: Exception | None) -> None:
            if not future.done():
                if reply is None:
                    future.set_exception(Disconnected("The bus went away."))
                else:
                    future.set_result(reply)

        self._call(call, done)
        try:
            return await future
        finally:
            self._method_return_handlers.pop(call.serial, None)

    def send(self, message: Message) -> asyncio.Future[None]:  # type: ignore[override]
        """Queue a message, mended on its way out: ObjectManager's signals leave from the root, internals never do."""
        if message.message_type is MessageType.SIGNAL and message.interface == standard.OBJECT_MANAGER:
            message.path = self.root
        if message.message_type is MessageType.ERROR and message.error_name in LEAKY:
            log.error("D-Bus handler failed: %s", message.body)
            message.error_name, message.body = Internal.dbus_name(), [INTERNAL_TEXT]
        return super().send(message)

    def _emit_interface_added(self, path: str, interface: ServiceInterface) -> None:
        if self.announces:
            super()._emit_interface_added(path, interface)

    def exports(self) -> dict[str, list[ServiceInterface]]:
        """The exported interfaces by object path."""
        return dict(self._path_exports)

    def _make_method_handler(
        self, interface: ServiceInterface, method: Any
    ) -> Callable[[Message, Callable[[Message], None]], None]:
        def handler(call: Message, send_reply: Callable[[Message], None]) -> None:
            self.spawn(self._serve(interface, method, call, send_reply))

        return handler

    async def _serve(
        self, interface: ServiceInterface, method: Any, call: Message, send_reply: Callable[[Message], None]
    ) -> None:
        """The one way into an exported method: caller, gate, method, reply."""
        try:
            note_caller(call)
            details = interface.details(method.name, call.body) if isinstance(interface, Shown) else {}
            async with self.gate(interface.name, method.name, details):
                result = method.fn(interface, *call.body)
                if inspect.isawaitable(result):
                    result = await result
            body, _ = ServiceInterface._fn_result_to_body(result, method.out_signature_tree)
            reply = Message.new_method_return(call, method.out_signature, body)
            reply._marshall()
        except Exception as error:  # noqa: BLE001 - each call is answered, and nothing of ours leaks
            reply = to_message(call, error)
        send_reply(reply)

    def _introspect_export_path(self, path: str) -> intr.Node:
        """Introspection with the true children: dbus-next finds `0` below `reader/1` when there is a `reader/10`."""
        node = intr.Node.default(path) if path in self._path_exports else intr.Node(path)
        node.interfaces += [interface.introspect() for interface in self._path_exports.get(path, [])]
        below = path.rstrip("/") + "/"
        children = {each[len(below) :].split("/")[0] for each in self._path_exports if each.startswith(below)}
        node.nodes = [intr.Node(name) for name in sorted(children)]
        return node
