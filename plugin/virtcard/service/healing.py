"""A virtual reader whose input is stuck is freed over QEMU's monitor, where the policy permits it.

QEMU keeps what a client began to send when that client dies, and takes the next one's bytes for the rest of it: then
it answers nothing, or nonsense, to whoever connects (ccid-card-passthru.c). A break on the chardev clears it, and the
guest does not notice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from virtcard import limits
from virtcard.domain.hotplug import QUERY_CHARDEVS, XML_CHARDEV, Command, HotReader, Reply, is_connected, send_break
from virtcard.errors import Busy, Failed, VirtcardError
from virtcard.policy.decide import Request
from virtcard.policy.model import Monitor
from virtcard.service.bridges import Bridges, Key
from virtcard.service.link import Link
from virtcard.service.permits import Permits
from virtcard.service.record import Event, Record, Recorder
from virtcard.service.registry import Registry
from virtcard.service.turns import Turns

log = logging.getLogger(__name__)

ADVICE: Final = 'A rule with monitor = "heal" lets virtcardd free it; else power {name} off and start it again.'


@dataclass(slots=True)
class Healer:
    """Belongs to the event loop's thread."""

    registry: Registry
    bridges: Bridges
    link: Link
    permits: Permits
    turns: Turns
    reconcile: Callable[[UUID], Awaitable[None]]
    """Reads a domain anew and reconciles it; its turn is held."""
    record: Recorder
    _tried: dict[Key, float] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def stuck(self, key: Key) -> str:
        """A bridge has found its reader so: it is freed in the background, or else what a person can do."""
        view = self.registry.domains.get(key[0])
        if view is None:
            return ""
        request = Request(view.uuid, view.name, frozenset(view.tags), self.permits.wisher)
        if self.permits.monitor(request) is Monitor.NONE:
            return ADVICE.format(name=view.name)
        now = time.monotonic()
        self._tried = {each: since for each, since in self._tried.items() if now < since + limits.HEAL_PAUSE}
        if key not in self._tried:
            self._tried[key] = now
            task = asyncio.get_running_loop().create_task(self._heal(key, view.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return ""

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _heal(self, key: Key, name: str) -> None:
        """Without a bridge meanwhile, so that a client on the chardev would be somebody else."""
        uuid, slot = key
        try:
            async with self.turns.turn(uuid):
                await self.bridges.end(key)
                try:
                    await self._free(uuid, HotReader(slot).chardev if slot else XML_CHARDEV)
                    self.record(
                        Record(Event.HEALED, f"The virtual reader of {name} was stuck, and is free.", uuid, name)
                    )
                finally:
                    await self.reconcile(uuid)
        except VirtcardError as error:
            log.warning("the virtual reader of %s stays stuck: %s", name, error.message)
        except Exception:
            log.exception("the virtual reader of %s could not be freed", name)

    async def _free(self, uuid: UUID, chardev: str) -> None:
        """Busy when somebody else uses it: a break would spoil that conversation."""
        deadline = time.monotonic() + limits.HOTPLUG_PATIENCE
        while is_connected(await self._ask(uuid, QUERY_CHARDEVS), chardev):
            if time.monotonic() > deadline:
                raise Busy("another client holds its socket.")
            await asyncio.sleep(limits.HOTPLUG_LOOK)
        reply = await self._ask(uuid, send_break(chardev))
        if reply.error:
            raise Failed(f"QEMU does not take a break: {reply.error}.")

    async def _ask(self, uuid: UUID, command: Command) -> Reply:
        return await self.link.call(lambda hypervisor: hypervisor.monitor(uuid, command))
