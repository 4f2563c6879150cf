"""Who was connected to a machine's SPICE server before virtcardd came: QEMU is asked, where a rule permits it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from virtcard.domain.record import DomainRecord
from virtcard.domain.viewers import QUERY, read_channels
from virtcard.errors import InvalidXml, VirtcardError
from virtcard.policy.decide import Request
from virtcard.policy.model import Monitor
from virtcard.service.link import Link
from virtcard.service.permits import Permits
from virtcard.service.viewers import Viewers

log = logging.getLogger(__name__)


class Meeting:
    """Belongs to the event loop's thread. A machine is asked once, and one after the other: a QEMU that hangs holds up
    libvirt's thread for a while, and so none is asked within a pass over all machines."""

    def __init__(self, viewers: Viewers, link: Link, permits: Permits) -> None:
        self._viewers = viewers
        self._link = link
        self._permits = permits
        self._met: set[UUID] = set()
        """Machines whose viewers were asked for, or whose every viewer was seen to come."""
        self._due: asyncio.Queue[UUID] = asyncio.Queue()

    async def begin(self) -> None:
        """The line to libvirt is up: what happened before is not known."""
        self._met.clear()
        self._viewers.begin()
        self._viewers.told = await self._link.call(lambda hypervisor: hypervisor.tells_of_viewers)

    def started(self, uuid: UUID) -> None:
        """The machine starts now, and has no viewer yet."""
        self._met.add(uuid)

    def gone(self, uuid: UUID) -> None:
        """The domain does not exist any more."""
        self._met.discard(uuid)

    def look(self, record: DomainRecord, request: Callable[[], Request]) -> None:
        """Before a card goes in: where some rule lets a viewer's go before it, it waits until the viewers are known."""
        if not record.running:
            self._met.add(record.uuid)
        elif record.uuid not in self._met and self._permits.some_yield:
            with suppress(InvalidXml):  # its reconcile tells of it
                self._meet(request())

    def _meet(self, request: Request) -> None:
        if not self._permits.yields_to_viewers(request):
            return
        self._met.add(request.uuid)
        if self._permits.monitor(request) is Monitor.NONE:
            self._viewers.met(request.uuid, None)
        else:
            self._viewers.expect(request.uuid)
            self._due.put_nowait(request.uuid)

    async def run(self, passing: asyncio.Lock) -> None:
        """Ask, until cancelled; `passing` is held by a pass over all machines."""
        while True:
            uuid = await self._due.get()
            async with passing:
                pass
            await self._ask(uuid)

    async def _ask(self, uuid: UUID) -> None:
        channels = None
        try:
            reply = await self._link.call(lambda hypervisor: hypervisor.monitor(uuid, QUERY))
            channels = read_channels(reply.value)
        except VirtcardError as error:
            log.info("domain %s does not tell its viewers: %s", uuid, error.message)
        except Exception:
            log.exception("domain %s: its viewers could not be asked for", uuid)
        self._viewers.met(uuid, channels)
