"""virtcardd: puts everything together, and the one module that knows everybody."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.export import serve
from virtcard.bus.logind import Watcher, watch_logind
from virtcard.card.base import Surroundings
from virtcard.card.guard.mask import mask
from virtcard.card.pcscd import pcscd_version
from virtcard.card.reader_watcher import ReaderWatcher, Service
from virtcard.card.soft.source import own_store
from virtcard.card.sources import Sources
from virtcard.domain.events import HypervisorEvent
from virtcard.domain.host import qemu_host
from virtcard.domain.model import socket_owner
from virtcard.domain.peer import verify_peer
from virtcard.domain.render import Renderer
from virtcard.domain.run import run_in
from virtcard.errors import Failed, InvalidArgument, PolicyBroken, Unsupported, VirtcardError
from virtcard.journal import Journal
from virtcard.limits import SWITCH_INTERVAL, UNIX_PATH_MAX
from virtcard.names import BUS_NAME, socket_name
from virtcard.notify import notify
from virtcard.service.agents import Agents
from virtcard.service.ask import Asker
from virtcard.service.asking import Asking
from virtcard.service.bridges import Bridges, Key
from virtcard.service.cards import Cards
from virtcard.service.cardwork import CardWork
from virtcard.service.changes import Changes
from virtcard.service.consents import Consents
from virtcard.service.core import VirtcardService
from virtcard.service.decisions import Decisions
from virtcard.service.diary import Diary
from virtcard.service.grants import Grants
from virtcard.service.hotplug import Hotplug
from virtcard.service.insertions import Insertions
from virtcard.service.link import Link
from virtcard.service.notices import Notices
from virtcard.service.onetime import OneTimeSockets
from virtcard.service.opening import Opening
from virtcard.service.permission import Gate, Locked, Wanted
from virtcard.service.permits import Permits
from virtcard.service.policy import Policies
from virtcard.service.question import Notice, NoticeKind
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler
from virtcard.service.registry import Registry
from virtcard.service.seat import Seat
from virtcard.service.threads import start
from virtcard.service.tracing import Tracing
from virtcard.service.viewers import Viewers
from virtcard.service.views import StatusView
from virtcard.service.wardrobe import Wardrobe
from virtcard.settings import Settings, settings
from virtcard.version import VERSION
from virtcard.watchdog import Watchdog

if TYPE_CHECKING:
    from virtcard.metrics.textfile import Textfile

log = logging.getLogger(__name__)

FIRST_PASS_PATIENCE = 5.0
"""Seconds that the bus name waits for the first pass, so that whoever activated us finds the domains."""


class Daemon:
    """Everything, wired together. Made inside the event loop."""

    def __init__(self, chosen: Settings) -> None:
        self.settings = chosen
        registry = Registry()
        agents = Agents()
        grants = Grants(chosen.policy.grants)
        self.seat = Seat()
        journal = Journal()
        decisions = Decisions(journal.record)
        self.asker = Asker(self.seat, agents, grants, decisions)
        asking = Asking(self.asker, self.seat, agents)
        Diary(registry, journal.record)
        Notices(registry, self.asker.tell)
        self.watcher = ReaderWatcher()
        store = own_store(session=chosen.session)
        self.cards = Cards(registry, store)
        self.sockets = OneTimeSockets(chosen.runtime_dir)
        sources = _sources(Surroundings(chosen.session, lambda: self.watcher))
        self.link = Link(
            chosen.uri.text,
            on_event=self._on_event,
            on_up=self._libvirt_up,
            on_state=self._on_link,
        )
        policies = Policies(chosen.policy, self._on_policy)
        self.viewers = Viewers(self._on_viewers)
        bridges = Bridges(
            registry.bridges,
            Opening(sources),
            Wardrobe(asking.in_command),
            Gate(
                lambda: policies.rules, lambda: self.seat.presence.locked, self.viewers.shares_card, decisions.decided
            ),
            atr_of=lambda reader: self.readers.atr(reader),  # noqa: PLW0108 (it is made below)
            on_card=self._on_card,
            on_stuck=self._on_stuck,
            on_ended=self._on_bridge_ended,
        )
        changes = Changes.make(self.link, Renderer(), chosen.socket_dir)
        changes.qemu = qemu_host(chosen.uri, os.environ)
        self.readers = Readers(
            registry.readers,
            on_change=self._on_readers,
            on_service=self._on_pcsc,
        )
        insertions = Insertions(chosen.runtime_dir)
        consents = Consents(asking, self._on_answer, insertions)
        self.asker.on_change, self.asker.on_room = consents.ask_again, consents.ask_next
        permits = Permits(policies, consents, decisions, chosen.wisher)
        self.service = VirtcardService(
            registry,
            StatusView(
                VERSION,
                chosen.uri.text,
                self.link.state,
                self.watcher.service,
                chosen.instance,
                started=time.time_ns() // 1000,
                metrics=str(chosen.metrics_file) if chosen.metrics else "",
            ),
            agents=agents,
            grants=grants,
            link=self.link,
            sources=sources,
            readers=self.readers,
            reconciler=Reconciler(
                domains=registry.domains,
                bridges=bridges,
                changes=changes,
                insertions=insertions,
                run_of=run_in(chosen.uri.pid_dir),
                verifier=self._verifier,
                permits=permits,
                hotplug=Hotplug(self.link, permits, chosen.hotplug_dir, lambda: changes.passthru_supported),
            ),
            tracing=Tracing(registry, bridges, self.sockets, mask, journal.record),
            record=journal.record,
            cards=CardWork(store, self.cards, self.sockets),
            viewers=self.viewers,
        )
        self.changes = changes
        self.metrics = _metrics(chosen, registry, self.service.status) if chosen.metrics else None
        self.watcher.subscribe(self.readers.hear)
        self._first_pass = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._was_locked = False
        self.seat.listen(self._on_seat)
        agents.listen(lambda: self.service.set_status(agents=agents.users))

    def _on_event(self, event: HypervisorEvent) -> None:
        self.service.on_event(event)

    def _on_link(self) -> None:
        self.service.set_status(libvirt=self.link.state, libvirt_error=self.link.error)

    def _on_readers(self) -> None:
        self.service.on_readers()

    def _on_policy(self) -> None:
        self.service.on_policy()

    def _on_card(self, key: Key, wanted: Wanted) -> None:
        self.service.on_card(key, wanted)

    def _on_stuck(self, key: Key) -> str:
        return self.service.healer.stuck(key)

    def _on_bridge_ended(self, key: Key) -> None:
        self.service.on_bridge_ended(key)

    def _on_answer(self, uuid: UUID) -> None:
        self.service.on_answer(uuid)

    def _on_seat(self) -> None:
        """A lock takes cards out where the rule says so, and the end of it brings them back."""
        locked = self.seat.presence.locked
        if locked == self._was_locked:
            return
        self._was_locked = locked
        for denied in self.service.judge_again():
            if isinstance(denied, Locked):
                request = denied.request
                self.asker.tell(Notice(NoticeKind.LOCKED_EJECT, request.uuid, request.name, request.card))

    def _on_viewers(self, uuid: UUID) -> None:
        self.service.on_viewers(uuid)

    def _on_pcsc(self, state: str) -> None:
        self.service.set_status(pcsc=state)
        if state == Service.CONNECTED:
            self._begin(self._look_at_pcscd())

    async def _look_at_pcscd(self) -> None:
        self.service.set_status(pcsc_version=await asyncio.wrap_future(start(pcscd_version)))

    def _verifier(self, uuid: UUID, name: str) -> Callable[[int], None] | None:
        if not self.settings.verifies_peers:
            return None
        pid_dir = self.settings.uri.pid_dir
        return lambda pid: verify_peer(pid, uuid, name, pid_dir)

    async def _libvirt_up(self) -> None:
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
            self.sockets.tidy()
            async with watch_logind(bus, Watcher(self.seat.take, self.service.host_sleeps)):
                await self._work(bus, stop)
        finally:
            await bus.close()

    async def _work(self, bus: Bus, stop: asyncio.Event) -> None:
        await self.reload_policy()
        self.watcher.start()
        tasks = [asyncio.create_task(each.run()) for each in (self.link, self.service, self.cards)]
        if self.metrics:
            tasks.append(asyncio.create_task(self.metrics.run()))
        try:
            await self.cards.look_at_all()
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
        await self.sockets.close()
        await self.service.close()
        await self.link.close()
        await asyncio.to_thread(self.watcher.stop)


def _sources(surroundings: Surroundings) -> Sources:
    """All that are registered; those that do not serve are named in the journal."""
    sources = Sources.installed(surroundings)
    for broken in sources.broken:
        log.error("%s", broken, exc_info=broken.error)
    return sources


def _metrics(chosen: Settings, registry: Registry, status: Callable[[], StatusView]) -> Textfile:
    """Its library is loaded when metrics are wanted, and may be missing when they are not."""
    try:
        from virtcard.metrics.textfile import Textfile
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"virtcardd cannot write metrics: {error.name} is not installed.",
            hint="Install it (python3-prometheus-client, or pip install 'virtcard[metrics]'), or leave out --metrics.",
        ) from error
    return Textfile(chosen.metrics_file, registry, status)


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


def check_socket_dir(chosen: Settings) -> None:
    """InvalidArgument for a directory by whose sockets readers would not be known as ours, or too long for them."""
    socket = str(chosen.socket_dir / socket_name(UUID(int=0)))
    if socket_owner(socket) is None:
        raise InvalidArgument(
            f"'{chosen.socket_dir}' is no directory for VSCard sockets.",
            hint="Its name must be virtcard or virtcard/vm.",
        )
    if len(os.fsencode(socket)) > UNIX_PATH_MAX:
        raise InvalidArgument(
            f"'{chosen.socket_dir}' is too long: its sockets have {UNIX_PATH_MAX} bytes.", hint="Choose a shorter one."
        )


def make_socket_dir(chosen: Settings) -> None:
    """The session's own directory is ours to make; the system's is made by tmpfiles, with the right group."""
    if not chosen.session:
        return
    try:
        chosen.hotplug_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(
            f"Cannot make the socket directory {chosen.socket_dir}: {error.strerror}.",
            hint="Domains with a virtual reader do not start without it.",
        ) from error


def prepare_process() -> None:
    """For a thousand bridges. Each takes two descriptors, and four with a software card; the usual soft limit of 1,024
    is there for programs that still use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setswitchinterval(SWITCH_INTERVAL)


async def _serve(chosen: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    daemon = Daemon(chosen)
    loop.add_signal_handler(signal.SIGHUP, daemon.hear_sighup)
    await daemon.run(stop)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--session", is_flag=True, help="Serve the session bus and qemu:///session of this user.")
@click.option("-c", "--connect", metavar="URI", help="The libvirt connection to watch.")
@click.option("--socket-dir", metavar="DIR", help="Where the VSCard sockets of the domains belong.")
@click.option(
    "--metrics",
    is_flag=True,
    envvar="VIRTCARDD_METRICS",
    help="Write metrics for Prometheus into the runtime directory; so does VIRTCARDD_METRICS=1.",
)
@click.option("--verbose", is_flag=True, help="Log what is done, not only what went wrong.")
@click.version_option(VERSION, prog_name="virtcardd")
def command(*, session: bool, connect: str | None, socket_dir: str | None, metrics: bool, verbose: bool) -> None:
    """Give libvirt domains a smart card reader, and cards to put in."""
    with suppress(RuntimeError, OSError):  # somebody may have closed our stderr
        faulthandler.enable()  # what the watchdog ends says where it hung
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(name)s: %(message)s",
        stream=sys.stderr,
    )
    chosen = settings(session=session, connect=connect, socket_dir=socket_dir, metrics=metrics)
    check_socket_dir(chosen)
    prepare_process()
    asyncio.run(_serve(chosen))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `virtcardd`."""
    try:
        command.main(args=arguments, prog_name="virtcardd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except VirtcardError as error:
        sys.stderr.write(f"virtcardd: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return error.exit_code
    return 0
