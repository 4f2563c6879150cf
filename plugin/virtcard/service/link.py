"""The line to libvirt: opened, watched, and opened again when it breaks. Calls go through one worker thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from virtcard.bridge.backoff import Backoff
from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.worker import Worker
from virtcard.errors import Disconnected, TimedOut, VirtcardError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Link:
    """`state` is "connected", "connecting" or "away", and `error` the sentence why the last attempt failed, or "".

    Bridges live on while the line is down."""

    def __init__(
        self,
        uri: str,
        *,
        on_event: Callable[[HypervisorEvent], None],
        on_up: Callable[[], Awaitable[None]],
        on_state: Callable[[], None],
    ) -> None:
        self.state = "connecting"
        self.error = ""
        self._uri = uri
        self._on_event = on_event
        self._on_up = on_up
        self._on_state = on_state
        self._loop = asyncio.get_running_loop()
        self._worker = Worker()
        self._hypervisor: Hypervisor | None = None
        self._broken = asyncio.Event()

    async def call(self, function: Callable[[Hypervisor], T]) -> T:
        """Run `function` with the open connection on the worker thread; Disconnected while the line is down."""
        if self._hypervisor is None:
            raise Disconnected(
                f"libvirt does not answer at {self._uri}.", hint="Is libvirtd running? virtcardd keeps trying."
            )
        return await self._worker.run(function, self._hypervisor)

    async def run(self) -> None:
        """Keep the line up until cancelled."""
        backoff = Backoff()
        while True:
            try:
                await self._open()
                await self._on_up()
                backoff.reset()
                await self._broken.wait()
                self.error = f"libvirt closed the connection to {self._uri}."
                log.warning("%s", self.error)
            except VirtcardError as error:
                self.error = error.message
                log.warning("libvirt: %s", error.message)
            except Exception:  # a fault of our own must not end the daemon, which has bridges to look after
                self.error = "virtcard made a mistake with the connection to libvirt; the journal tells which."
                log.exception("libvirt: the connection could not be used")
            await self._shut()
            self._tell("away")
            await asyncio.sleep(backoff.next())
            self._tell("connecting")

    async def close(self) -> None:
        """Close the connection and the worker."""
        await self._shut()
        self._worker.close()

    async def _open(self) -> None:
        self._broken.clear()
        hypervisor = Hypervisor(self._uri, self._from_thread)
        try:
            await self._worker.run(hypervisor.open)
        except TimedOut:
            # The open that hangs may still come to its end: then it shall end closed, not as a second connection.
            await self._worker.run(hypervisor.close)
            raise
        self._hypervisor = hypervisor
        self.error = ""
        self._tell("connected")

    async def _shut(self) -> None:
        hypervisor, self._hypervisor = self._hypervisor, None
        if hypervisor is None:
            return
        try:
            await self._worker.run(hypervisor.close)
        except VirtcardError as error:
            log.debug("closing libvirt: %s", error.message)

    def _from_thread(self, event: HypervisorEvent) -> None:
        self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: HypervisorEvent) -> None:
        if event.kind is EventKind.CLOSED:
            self._broken.set()
        else:
            self._on_event(event)

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._on_state()
