"""virtcardd at work: it begins, hears what its parts tell, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.export import serve
from virtcard.bus.logind import Watcher, watch_logind
from virtcard.card.pcscd import pcscd_version
from virtcard.card.reader_watcher import Service
from virtcard.daemon.compose import Parts
from virtcard.daemon.folders import make_socket_dir
from virtcard.domain.events import HypervisorEvent
from virtcard.errors import Failed, PolicyBroken
from virtcard.names import BUS_NAME
from virtcard.notify import notify
from virtcard.service.bridges import Key
from virtcard.service.permission import Locked, Wanted
from virtcard.service.question import Notice, NoticeKind
from virtcard.service.threads import start
from virtcard.settings import Settings
from virtcard.watchdog import Watchdog

FIRST_PASS_PATIENCE = 5.0
"""Seconds that the bus name waits for the first pass, so that whoever activated us finds the domains."""


class Daemon:
    """Hears what its parts tell, and serves until it is stopped. Made inside the event loop."""

    def __init__(self, chosen: Settings) -> None:
        self.settings = chosen
        self.parts = parts = Parts(chosen, self)
        self.service, self.link, self.changes = parts.service, parts.link, parts.changes
        self.seat, self.asker = parts.seat, parts.asker
        self._first_pass = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._was_locked = False
        parts.watcher.subscribe(parts.readers.hear)
        parts.seat.listen(self._on_seat)
        parts.agents.listen(lambda: self.service.set_status(agents=parts.agents.users))

    def on_event(self, event: HypervisorEvent) -> None:
        """Something happened to a domain."""
        self.service.hearing.on_event(event)

    def on_link(self) -> None:
        """The line to libvirt stands in another way."""
        self.service.set_status(libvirt=self.link.state, libvirt_error=self.link.error)

    def on_readers(self) -> None:
        """Host readers or their cards came or went."""
        self.service.hearing.on_readers()

    def on_policy(self) -> None:
        """The policy was read anew."""
        self.service.on_policy()

    def on_card(self, key: Key, wanted: Wanted) -> None:
        """The card of a bridge is another one than it was taken for."""
        self.service.hearing.on_card(key, wanted)

    def on_free(self, uuid: UUID) -> None:
        """A domain's bridge has let go of a card that others may wait for."""
        self.service.hearing.on_free(uuid)

    def on_stuck(self, key: Key) -> str:
        """A reader's input is stuck: what is done about it."""
        return self.service.healer.stuck(key)

    def on_bridge_ended(self, key: Key) -> None:
        """A bridge has ended by itself."""
        self.service.hearing.on_bridge_ended(key)

    def on_answer(self, uuid: UUID) -> None:
        """A person has said what is to become of a domain's card."""
        self.service.hearing.on_answer(uuid)

    def _on_seat(self) -> None:
        """A lock takes cards out where the rule says so, and the end of it brings them back."""
        locked = self.seat.presence.locked
        if locked == self._was_locked:
            return
        self._was_locked = locked
        for denied in self.service.hearing.judge_again():
            if isinstance(denied, Locked):
                request = denied.request
                self.asker.tell(Notice(NoticeKind.LOCKED_EJECT, request.uuid, request.name, request.card))

    def on_viewers(self, uuid: UUID) -> None:
        """A viewer's card came or went."""
        self.service.hearing.on_viewers(uuid)

    def on_pcsc(self, state: str) -> None:
        """pcscd came or went."""
        self.service.set_status(pcsc=state)
        if state == Service.CONNECTED:
            self._begin(self._look_at_pcscd())

    async def _look_at_pcscd(self) -> None:
        self.service.set_status(pcsc_version=await asyncio.wrap_future(start(pcscd_version)))

    async def libvirt_up(self) -> None:
        """libvirt answers, for the first time or again."""
        if self.changes.passthru_supported is None:
            self.changes.passthru_supported = await self.link.call(lambda hypervisor: hypervisor.passthru_supported())
        if self.changes.emulated_supported is None:
            self.changes.emulated_supported = await self.link.call(lambda hypervisor: hypervisor.emulated_supported())
        if self.changes.spice_supported is None:
            self.changes.spice_supported = await self.link.call(lambda hypervisor: hypervisor.spice_supported())
        libvirt, qemu = await self.link.call(lambda hypervisor: hypervisor.versions())
        self.service.set_status(libvirt_version=libvirt, qemu_version=qemu)
        await self.service.meet_viewers()
        await self.service.full_pass()
        self._first_pass.set()

    async def reload_policy(self) -> None:
        """Read the policy anew; a bad one is logged, and shown by the status."""
        with suppress(PolicyBroken):
            await self.service.reload_policy()

    def hear_sighup(self) -> None:
        """As daemons do: read what is in files anew."""
        self._begin(self.reload_policy())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Failed when the bus goes away; the next start reconciles everything."""
        bus = await Bus.open(BusKind.SESSION if self.settings.session else BusKind.SYSTEM)
        try:
            await bus.require_unowned(BUS_NAME)
            make_socket_dir(self.settings)
            self.parts.sockets.tidy()
            async with watch_logind(bus, Watcher(self.seat.take, self.service.hearing.host_sleeps)):
                await self._work(bus, stop)
        finally:
            await bus.close()

    async def _work(self, bus: Bus, stop: asyncio.Event) -> None:
        await self.reload_policy()
        self.parts.watcher.start()
        tasks = [asyncio.create_task(each.run()) for each in (self.link, self.service, self.parts.cards)]
        if self.parts.metrics:
            tasks.append(asyncio.create_task(self.parts.metrics.run()))
        try:
            await self.parts.cards.look_at_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_PASS_PATIENCE):
                    await _first(self._first_pass.wait(), stop.wait(), bus.wait_closed())
            await serve(bus, self.service)
            notify("READY=1")
            if watchdog := Watchdog.wanted(lambda: self.service.lives):
                tasks.append(asyncio.create_task(watchdog.run()))
            await _first(stop.wait(), bus.wait_closed(), *tasks)
            if not stop.is_set():
                raise Failed("The bus closed the connection.", hint="systemd starts virtcardd again.")
        finally:
            notify("STOPPING=1")
            await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.parts.sockets.close()
        await self.service.close()
        await self.link.close()
        await asyncio.to_thread(self.parts.watcher.stop)


async def _first(*waits: Coroutine[Any, Any, Any] | asyncio.Task[None]) -> None:
    """Wait for the first of them, and cancel the others; an error of it is raised."""
    tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
