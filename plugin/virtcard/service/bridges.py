"""The bridges that run: one for each virtual reader of a running domain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from virtcard import limits
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.bridge.status import BridgeState, BridgeStatus
from virtcard.card.audit import Ledger
from virtcard.errors import Disconnected, Failed
from virtcard.service.registry import Shelf
from virtcard.service.running import Running
from virtcard.service.threads import start
from virtcard.service.views import BridgeView

Key = tuple[UUID, int]
Verify = Callable[[int], None]
OnStuck = Callable[[Key], str]
"""Told when a reader seems to be stuck; what a person can do about it, or ""."""
OnEnded = Callable[[Key], None]
"""Told when a bridge has ended by itself, or could not begin."""

STOP_PATIENCE = limits.EJECT_PATIENCE + limits.ACK_PATIENCE + 1.0
"""Seconds for an orderly end: the ceremony, and a peer that acknowledges nothing."""


class Bridges:
    """Belongs to the event loop's thread; the bridges report from their own threads."""

    def __init__(self, shelf: Shelf[Key, BridgeView], *, on_stuck: OnStuck, on_ended: OnEnded) -> None:
        self.shelf = shelf
        self._on_stuck = on_stuck
        self._on_ended = on_ended
        self._closed = False
        self._running: dict[Key, Running] = {}
        self._in_readers: dict[Key, str] = {}
        """The host reader of each bridge that has a card in one: asked for after every look at a domain."""
        self._loop = asyncio.get_running_loop()
        self._ends: set[asyncio.Task[None]] = set()

    def source(self, key: Key) -> str:
        """The source that was given to the bridge, or ""."""
        running = self._running.get(key)
        return running.source if running else ""

    def slots(self, uuid: UUID) -> tuple[int, ...]:
        """The readers of a domain that have a bridge."""
        return tuple(slot for slot in range(limits.HOTPLUG_MAX + 1) if (uuid, slot) in self._running)

    def readers(self) -> dict[str, tuple[UUID, ...]]:
        """Which domains use which host reader, by its PC/SC name."""
        users: dict[str, tuple[UUID, ...]] = {}
        for (uuid, _), reader in self._in_readers.items():
            users[reader] = (*users.get(reader, ()), uuid)
        return users

    def ledger(self, key: Key) -> Ledger | None:
        """The ledger of a bridge, or None when there is no such bridge."""
        running = self._running.get(key)
        return running.ledger if running else None

    def show_traced(self, key: Key, users: tuple[str, ...]) -> None:
        """These users trace the bridge now."""
        self._update(key, traced_by=users)

    def ensure(self, key: Key, endpoint: Endpoint, verify: Verify | None, first_gap: float = limits.INSERT_GAP) -> None:
        """Run a bridge to this endpoint; one to another endpoint, or one that has ended, is replaced.

        Disconnected after `close`, Failed when it cannot begin; there is no bridge then."""
        running = self._running.get(key)
        if running and running.endpoint == endpoint and not running.has_ended:
            return
        if self._closed:
            raise ending()
        self.drop(key)
        bridge = Bridge(endpoint, lambda status: self._report(key, bridge, status), verify=verify, first_gap=first_gap)
        try:
            bridge.start()
        except Failed:
            self._on_ended(key)
            raise
        left = (running.seated or running.left) if running else None
        self._running[key] = Running(bridge, endpoint, left=left)
        self.shelf.put(key, BridgeView(*key, "", str(endpoint), BridgeState.CONNECTING, _now()))

    def get(self, key: Key) -> Running | None:
        """The bridge there, which may have ended by itself."""
        return self._running.get(key)

    def at(self, key: Key) -> Running:
        """The bridge there; Failed when none runs."""
        running = self._running.get(key)
        if running is None or running.has_ended:
            raise no_bridge()
        return running

    def items(self) -> list[tuple[Key, Running]]:
        """All bridges."""
        return list(self._running.items())

    def show_card(self, key: Key, running: Running) -> None:
        """The card that was given to it is another one now, or none."""
        self._in_readers.pop(key, None)
        if running.reader:
            self._in_readers[key] = running.reader
        status = running.bridge.status  # the card before may have left an error, and the peer may have one still
        running.shown = status.serial
        self._update(key, source=running.source, **_told(status))

    def drop(self, key: Key) -> None:
        """End a bridge in order, in the background."""
        running = self._running.pop(key, None)
        self._in_readers.pop(key, None)
        if running is None:
            return
        self._update(key, apdus=running.bridge.apdus, counts=running.ledger.counts())
        self.shelf.drop(key)
        running.bridge.stop()
        task = self._loop.create_task(self._end(running.bridge))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def end(self, key: Key) -> None:
        """The same, and wait for it."""
        await self._until_ended([key])

    async def end_all(self, uuid: UUID) -> None:
        """The same for all bridges of a domain."""
        await self._until_ended([(uuid, slot) for slot in self.slots(uuid)])

    async def _until_ended(self, keys: list[Key]) -> None:
        before = set(self._ends)
        for key in keys:
            self.drop(key)
        if ends := self._ends - before:
            await asyncio.wait(ends)

    async def _end(self, bridge: Bridge) -> None:
        await asyncio.wrap_future(start(bridge.join, STOP_PATIENCE))

    async def close(self) -> None:
        """End all of them in order, and start no more."""
        self._closed = True
        for key in list(self._running):
            self.drop(key)
        while self._ends:
            await asyncio.wait(self._ends)

    def refresh_counters(self) -> None:
        """Bring the counters of the views up to date; the bridges do not report each APDU."""
        for key, running in self._running.items():
            if running.rests:
                continue
            active, counts = running.look(), running.ledger.counts()
            view = self.shelf.get(key)
            if view is None or (view.apdus, view.active) != (running.counted, active) or view.counts is not counts:
                self._update(key, apdus=running.counted, counts=counts, active=active)

    def _report(self, key: Key, bridge: Bridge, status: BridgeStatus) -> None:
        self._loop.call_soon_threadsafe(self._take, key, bridge, status)

    def _take(self, key: Key, bridge: Bridge, status: BridgeStatus) -> None:
        running = self._running.get(key)
        if running is not None and running.bridge is bridge and status.serial >= running.shown:  # it is no older one
            running.shown = status.serial
            told = _told(status)
            if status.stuck and (advice := self._on_stuck(key)):
                told["hint"] = advice
            self._update(key, apdus=status.apdus, counts=running.ledger.counts(), **told)
            if status.state is BridgeState.CLOSED:
                self._on_ended(key)

    def _update(self, key: Key, **changes: object) -> None:
        view = self.shelf.get(key)
        if view is None:
            return
        since = _now() if changes.get("state", view.state) != view.state else view.since
        self.shelf.put(key, replace(view, since=since, **changes))  # type: ignore[arg-type]


def _told(status: BridgeStatus) -> dict[str, object]:
    """What of it a view shows under the same names."""
    return {"state": status.state, "last_error": status.last_error, "hint": status.hint}


def _now() -> int:
    return time.time_ns() // 1000


def no_bridge() -> Failed:
    """To be raised: there is none to that reader."""
    return Failed("No bridge runs to the virtual reader.", hint="'virtcard status' tells why.")


def ending() -> Disconnected:
    """To be raised: there are no bridges any more."""
    return Disconnected("virtcardd is ending.", hint="Try again when it runs again.")
