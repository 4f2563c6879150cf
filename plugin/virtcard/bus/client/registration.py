"""Being an agent of a virtcardd: registered whenever it is there, and called by nobody else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from dbus_next.constants import MessageFlag
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.service import ServiceInterface, method

from virtcard import limits
from virtcard.bus.address import BusKind
from virtcard.bus.caller import current_caller
from virtcard.bus.connection import Bus
from virtcard.bus.failures import to_virtcard_error
from virtcard.bus.values import plain
from virtcard.errors import Disconnected, NotAuthorized, VirtcardError
from virtcard.names import AGENT, BUS_NAME, MANAGER, ROOT_PATH

log = logging.getLogger(__name__)

PATH: Final = f"{ROOT_PATH}/Agent"
_OWNER: Final = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{BUS_NAME}'"


class Answering(Protocol):
    """Who is asked; plain dictionaries as org.virtcard1.Agent.xml has them."""

    async def ask(self, untrusted_question: "dict[str, Any]") -> str:
        """The answer. Cancelled when nobody waits for it any more."""

    def tell(self, untrusted_notice: "dict[str, Any]") -> None:
        """Something to know."""


class AgentInterface(ServiceInterface):
    """org.virtcard1.Agent. Whoever may call it is the gate's matter."""

    def __init__(self, answering: Answering) -> None:
        super().__init__(AGENT)
        self._answering = answering
        self._open: dict[object, asyncio.Task[str]] = {}

    @method()
    async def Ask(self, question: "a{sv}") -> "s":
        values = plain(question)
        number = values.get("id")
        task = asyncio.ensure_future(self._answering.ask(values))
        self._open[number] = task
        try:
            return await task
        except asyncio.CancelledError:
            raise NotAuthorized("The question was taken back.") from None
        finally:
            task.cancel()
            self._open.pop(number, None)

    @method()
    def Cancel(self, id: "s"):  # type: ignore[no-untyped-def]
        if id in self._open:
            self._open[id].cancel()

    @method()
    def Notify(self, notice: "a{sv}"):  # type: ignore[no-untyped-def]
        self._answering.tell(plain(notice))

    def withdraw(self) -> None:
        """Take every question off the screen: who asked is gone."""
        for task in list(self._open.values()):
            task.cancel()


class Registration:
    """With the virtcardd on one bus, for as long as `run` goes on."""

    def __init__(self, bus: str, answering: Answering) -> None:
        self._kind = BusKind(bus)
        self._interface = AgentInterface(answering)
        self._owner = ""

    async def run(self) -> None:
        """Until cancelled: connect, register, and both again whenever that is needed."""
        pause = limits.AGENT_RETRY_FIRST
        while True:
            try:
                bus = await Bus.open(self._kind)
            except Disconnected as error:
                log.debug("%s", error.message)
            else:
                pause = limits.AGENT_RETRY_FIRST
                try:
                    await self._serve(bus)
                finally:
                    self._interface.withdraw()
                    await bus.close()
            await asyncio.sleep(pause)
            pause = min(pause * 2, limits.AGENT_RETRY_MAX)

    async def _serve(self, bus: Bus) -> None:
        """Until the connection ends."""
        changed = asyncio.Event()

        def on_message(message: Message) -> None:
            if (message.member, message.sender) == ("NameOwnerChanged", "org.freedesktop.DBus"):
                changed.set()

        @asynccontextmanager
        async def admit(_interface: str, _member: str, _details: object) -> AsyncIterator[None]:
            if current_caller().sender != self._owner:
                raise NotAuthorized("Only virtcardd may call this.")
            yield

        bus.gate = admit
        bus.add_message_handler(on_message)
        bus.export(PATH, self._interface)
        ended = asyncio.ensure_future(bus.wait_closed())
        try:
            await bus.ask_bus("AddMatch", "s", [_OWNER])
            while not ended.done():
                changed.clear()
                registered = await self._register(bus)
                stirred = asyncio.ensure_future(changed.wait())
                patience = None if registered else limits.AGENT_RETRY_MAX
                await asyncio.wait({stirred, ended}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                stirred.cancel()
        except (DBusError, VirtcardError) as error:
            log.debug("the %s bus: %s", self._kind, error)
        finally:
            ended.cancel()

    async def _register(self, bus: Bus) -> bool:
        """With the daemon that is there now, which is not started for it; False when it refused."""
        owner = await self._owner_now(bus)
        if owner != self._owner:
            self._interface.withdraw()
        self._owner = owner
        if not owner:
            return True
        try:
            await bus.ask(owner, ROOT_PATH, MANAGER, "RegisterAgent", "o", [PATH], flags=MessageFlag.NO_AUTOSTART)
        except DBusError as error:
            refusal = to_virtcard_error(error)
            log.warning("virtcardd on the %s bus takes no agent: %s", self._kind, refusal.message)
            return False
        log.info("registered with virtcardd on the %s bus", self._kind)
        return True

    async def _owner_now(self, bus: Bus) -> str:
        try:
            return str((await bus.ask_bus("GetNameOwner", "s", [BUS_NAME]))[0])
        except DBusError:
            return ""
