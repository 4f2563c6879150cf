"""What virtcardd is made of, wired together: the one module that knows everybody."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from virtcard.card.base import Surroundings
from virtcard.card.guard.mask import mask
from virtcard.card.reader_watcher import ReaderWatcher
from virtcard.card.soft.source import own_store
from virtcard.card.sources import Sources
from virtcard.domain.events import HypervisorEvent
from virtcard.domain.host import qemu_host
from virtcard.domain.peer import verify_peer
from virtcard.domain.render import Renderer
from virtcard.domain.run import run_in
from virtcard.errors import Unsupported
from virtcard.journal import Journal
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
from virtcard.service.permission import Gate, Wanted
from virtcard.service.permits import Permits
from virtcard.service.policy import Policies
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler
from virtcard.service.registry import Registry
from virtcard.service.seat import Seat
from virtcard.service.seating import Seating
from virtcard.service.tracing import Tracing
from virtcard.service.viewers import Viewers
from virtcard.service.views import StatusView
from virtcard.service.wardrobe import Wardrobe
from virtcard.settings import Settings
from virtcard.version import VERSION

if TYPE_CHECKING:
    from virtcard.metrics.textfile import Textfile

log = logging.getLogger(__name__)


class Hears(Protocol):
    """Whom the parts tell what happens, once all of them are made."""

    def on_event(self, event: HypervisorEvent) -> None: ...
    async def libvirt_up(self) -> None: ...
    def on_link(self) -> None: ...
    def on_policy(self) -> None: ...
    def on_viewers(self, uuid: UUID) -> None: ...
    def on_readers(self) -> None: ...
    def on_pcsc(self, state: str) -> None: ...
    def on_card(self, key: Key, wanted: Wanted) -> None: ...
    def on_free(self, uuid: UUID) -> None: ...
    def on_stuck(self, key: Key) -> str: ...
    def on_bridge_ended(self, key: Key) -> None: ...
    def on_answer(self, uuid: UUID) -> None: ...


class Parts:
    """Everything, wired together. Made inside the event loop."""

    def __init__(self, chosen: Settings, hears: Hears) -> None:
        self._chosen = chosen
        self._hears = hears
        self._record = Journal().record
        self.registry = Registry()
        self.agents = Agents()
        self.seat = Seat()
        self._grants = Grants(chosen.policy.grants)
        self._decisions = Decisions(self._record)
        self.asker = Asker(self.seat, self.agents, self._grants, self._decisions)
        self._asking = Asking(self.asker, self.seat, self.agents)
        Diary(self.registry, self._record)
        Notices(self.registry, self.asker.tell)
        self.watcher = ReaderWatcher()
        self._store = own_store(session=chosen.session)
        self.cards = Cards(self.registry, self._store)
        self.sockets = OneTimeSockets(chosen.runtime_dir)
        self._sources = _sources(Surroundings(chosen.session, lambda: self.watcher))
        self.link = Link(chosen.uri.text, on_event=hears.on_event, on_up=hears.libvirt_up, on_state=hears.on_link)
        self._policies = Policies(chosen.policy, hears.on_policy)
        self.viewers = Viewers(hears.on_viewers)
        self.readers = Readers(self.registry.readers, on_change=hears.on_readers, on_service=hears.on_pcsc)
        self._bridges = Bridges(self.registry.bridges, on_stuck=hears.on_stuck, on_ended=hears.on_bridge_ended)
        self.changes = Changes.make(self.link, Renderer(), chosen.socket_dir)
        self.changes.qemu = qemu_host(chosen.uri, os.environ)
        self.service = self._make_service(self._make_reconciler())
        self.metrics = _metrics(chosen, self.registry, self.service.status) if chosen.metrics else None

    def _make_seating(self) -> Seating:
        gate = Gate(
            lambda: self._policies.rules,
            lambda: self.seat.presence.locked,
            self.viewers.shares_card,
            self._decisions.decided,
        )
        return Seating(
            self._bridges,
            Opening(self._sources),
            Wardrobe(self._asking.in_command),
            gate,
            atr_of=self.readers.atr,
            on_card=self._hears.on_card,
            on_free=self._hears.on_free,
        )

    def _make_reconciler(self) -> Reconciler:
        insertions = Insertions(self._chosen.runtime_dir)
        consents = Consents(self._asking, self._hears.on_answer, insertions)
        self.asker.on_change, self.asker.on_room = consents.ask_again, consents.ask_next
        permits = Permits(self._policies, consents, self._decisions, self._chosen.wisher)
        hotplug = Hotplug(self.link, permits, self._chosen.hotplug_dir, lambda: self.changes.passthru_supported)
        return Reconciler(
            domains=self.registry.domains,
            bridges=self._bridges,
            seating=self._make_seating(),
            changes=self.changes,
            insertions=insertions,
            run_of=run_in(self._chosen.uri.pid_dir),
            verifier=self._verifier,
            permits=permits,
            hotplug=hotplug,
        )

    def _make_service(self, reconciler: Reconciler) -> VirtcardService:
        return VirtcardService(
            self.registry,
            self._status(),
            agents=self.agents,
            grants=self._grants,
            link=self.link,
            sources=self._sources,
            readers=self.readers,
            reconciler=reconciler,
            tracing=Tracing(self.registry, self._bridges, self.sockets, mask, self._record),
            record=self._record,
            cards=CardWork(self._store, self.cards, self.sockets),
            viewers=self.viewers,
        )

    def _status(self) -> StatusView:
        return StatusView(
            VERSION,
            self._chosen.uri.text,
            self.link.state,
            self.watcher.service,
            self._chosen.instance,
            started=time.time_ns() // 1000,
            metrics=str(self._chosen.metrics_file) if self._chosen.metrics else "",
        )

    def _verifier(self, uuid: UUID, name: str) -> Callable[[int], None] | None:
        if not self._chosen.verifies_peers:
            return None
        pid_dir = self._chosen.uri.pid_dir
        return lambda pid: verify_peer(pid, uuid, name, pid_dir)


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
            hint="Install it (python3-prometheus-client, or pip install prometheus-client), or leave out --metrics.",
        ) from error
    return Textfile(chosen.metrics_file, registry, status)
