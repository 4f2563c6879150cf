"""Live traces: what a bridge asks its card, for somebody who was let in, over a socket that opens once.

A capture is a stream of pcapng blocks. It ends when its reader ends its sending side or goes away, and with its bridge.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from virtcard import limits
from virtcard.card.audit import Ledger
from virtcard.card.trace import Mask, Trace
from virtcard.errors import Busy, DomainStateError
from virtcard.service.bridges import Bridges, Key
from virtcard.service.onetime import OneTimeSockets
from virtcard.service.record import Event, Record, Recorder, counted
from virtcard.service.registry import Registry
from virtcard.service.views import BridgeView

log = logging.getLogger(__name__)

_CHUNK = 4096


@dataclass(slots=True, eq=False)
class _Running:
    """A trace that runs."""

    key: Key
    name: str
    """The domain's."""
    user: str
    trace: Trace
    news: asyncio.Event
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Its bridge has ended, or we end."""


class Tracing:
    """Belongs to the event loop's thread."""

    def __init__(
        self, registry: Registry, bridges: Bridges, sockets: OneTimeSockets, mask: Mask, record: Recorder
    ) -> None:
        self._registry = registry
        self._bridges = bridges
        self._sockets = sockets
        self._mask = mask
        self._record = record
        self._running: dict[asyncio.Task[None], _Running] = {}
        registry.bridges.listen(self._follow)

    def open(self, uuid: UUID, uid: int, user: str, slot: int | None = None) -> Path:
        """The socket where this user gets a trace of a bridge of the domain, else of its first one; DomainStateError
        when it has none."""
        key = (uuid, min(self._bridges.slots(uuid), default=0) if slot is None else slot)
        self._ledger(key)
        return self._sockets.hand_over(uid, lambda link: self._start(link, key, user))

    async def close(self) -> None:
        """End all of them, in order."""
        for running in self._running.values():
            running.over.set()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ledger(self, key: Key) -> Ledger:
        ledger = self._bridges.ledger(key)
        name = self._name(key)
        if ledger is None:
            raise DomainStateError(
                f"{name} has no bridge that could be traced.", hint="It must run, with a virtual reader of mode bridge."
            )
        if sum(each.key == key for each in self._running.values()) >= limits.TRACES_MAX:
            raise Busy(f"{name} is traced by too many already.", hint="'virtcard info' tells by whom.")
        return ledger

    def _start(self, link: socket.socket, key: Key, user: str) -> None:
        """The user has come. Errors are those of `open`: much may have happened since then."""
        ledger = self._ledger(key)
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        trace = Trace(self._mask, _from_any_thread(loop, news.set))
        running = _Running(key, self._name(key), user, trace, news)
        task = loop.create_task(self._run(link, running, ledger))
        self._running[task] = running
        task.add_done_callback(self._ended)
        ledger.tap(running.trace)
        self._show(key)
        self._write(Event.TRACE_STARTED, running, f"{user} traces {running.name}.")

    async def _run(self, link: socket.socket, running: _Running, ledger: Ledger) -> None:
        with link:
            sending = asyncio.create_task(_send(link, running))
            waits = [sending, asyncio.create_task(_left(link)), asyncio.create_task(running.over.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ledger.untap(running.trace)
                running.over.set()
                running.news.set()
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(limits.TRACE_END_PATIENCE):
                        await sending
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        running = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a trace failed", exc_info=error)
        self._show(running.key)
        trace = running.trace
        lost = f", and {trace.dropped} of {trace.received} packets were lost" if trace.dropped else ""
        sentence = f"{running.user} has traced {counted(trace.commands, 'command')} of {running.name}{lost}."
        self._write(Event.TRACE_ENDED, running, sentence)

    def _follow(self, key: Key, _old: BridgeView | None, new: BridgeView | None) -> None:
        if new is None:
            for running in self._running.values():
                if running.key == key:
                    running.over.set()

    def _show(self, key: Key) -> None:
        self._bridges.show_traced(key, tuple(each.user for each in self._running.values() if each.key == key))

    def _name(self, key: Key) -> str:
        domain = self._registry.domains.get(key[0])
        return domain.name if domain else str(key[0])

    def _write(self, event: Event, running: _Running, sentence: str) -> None:
        self._record(Record(event, sentence, running.key[0], running.name, user=running.user))


def _from_any_thread(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        with suppress(RuntimeError):  # the loop has ended, and the trace with it
            loop.call_soon_threadsafe(act)

    return call


async def _send(link: socket.socket, running: _Running) -> None:
    """The whole capture, to its end. A slow reader holds up nobody else: what it does not take in time is lost."""
    loop, trace = asyncio.get_running_loop(), running.trace
    await loop.sock_sendall(link, trace.begin(running.name))
    while not running.over.is_set():
        await running.news.wait()
        running.news.clear()
        await _send_waiting(link, trace)
    await _send_waiting(link, trace)
    await loop.sock_sendall(link, trace.end())


async def _send_waiting(link: socket.socket, trace: Trace) -> None:
    loop = asyncio.get_running_loop()
    while chunk := trace.take():
        await loop.sock_sendall(link, chunk)
        await asyncio.sleep(0)


async def _left(link: socket.socket) -> None:
    """Until the reader has ended its sending side, or is gone. What it sends is nothing to us."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while await loop.sock_recv(link, _CHUNK):
            pass
