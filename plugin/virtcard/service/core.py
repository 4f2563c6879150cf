"""The service: calls in, and what they are about held together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from virtcard.card.sources import Sources
from virtcard.domain.finding import Finding
from virtcard.domain.hotplug import read_slots
from virtcard.domain.record import DomainRecord
from virtcard.errors import NoSuchDomain
from virtcard.service.agents import Agents
from virtcard.service.api import Caller, CardCalls, EnableOptions, InsertOptions
from virtcard.service.bridges import Key
from virtcard.service.enabling import Enabling
from virtcard.service.grants import Grants
from virtcard.service.healing import Healer
from virtcard.service.hearing import Hearing
from virtcard.service.hotplug import warnings
from virtcard.service.inserter import Inserter
from virtcard.service.latecomers import Latecomers
from virtcard.service.link import Link
from virtcard.service.meeting import Meeting
from virtcard.service.naming import named
from virtcard.service.passes import Passes
from virtcard.service.readers import Readers
from virtcard.service.reconcile import Reconciler
from virtcard.service.record import Recorder
from virtcard.service.registry import Registry
from virtcard.service.tracing import Tracing
from virtcard.service.viewers import Viewers
from virtcard.service.views import Change, StatusView


class VirtcardService:
    """Implements `service.api.Service`. Lives on one event loop."""

    def __init__(
        self,
        registry: Registry,
        status: StatusView,
        *,
        agents: Agents,
        grants: Grants,
        link: Link,
        sources: Sources,
        readers: Readers,
        reconciler: Reconciler,
        tracing: Tracing,
        record: Recorder,
        cards: CardCalls,
        viewers: Viewers,
    ) -> None:
        self.registry = registry
        self.tracing = tracing
        self.agents = agents
        self.grants = grants
        self.record = record
        self.cards = cards
        self.viewers = viewers
        self._status = status
        self._readers = readers
        self._reconciler = reconciler
        self._meeting = Meeting(viewers, link, reconciler.permits)
        self._passes = Passes(registry, link, readers, reconciler, self._meeting)
        self._turns = self._passes.turns
        reconcile = self._passes.reconcile
        self._enabling = Enabling(self._turns, reconciler, reconcile)
        self._inserter = Inserter(self._turns, reconciler, reconcile, readers, registry.cards, sources)
        self.healer = Healer(registry, reconciler.bridges, link, reconciler.permits, self._turns, reconcile, record)
        self.hearing = Hearing(registry, self._passes, reconciler, self._meeting, viewers)
        """What others tell."""
        self._latecomers = Latecomers(self._passes.look_for_unknown)
        self._status_listeners: list[Callable[[StatusView], None]] = []

    def status(self) -> StatusView:
        """How the daemon stands."""
        return self._status

    def listen_status(self, listener: Callable[[StatusView], None]) -> None:
        """Call `listener` whenever `status()` changes."""
        self._status_listeners.append(listener)

    def set_status(self, **changed: str | tuple[int, ...]) -> None:
        """Take note of how libvirt, pcscd, the policy or its agents stand now; the names are those of the view."""
        status = replace(self._status, **changed)  # type: ignore[arg-type]
        if status != self._status:
            self._status = status
            for listener in self._status_listeners:
                listener(status)

    async def find_domain(self, text: str) -> UUID:
        """The domain with this id, UUID or name, in virsh's order; one defined a moment ago too. NoSuchDomain."""
        found = named(self.registry.domains.values(), text)
        if found is None:
            await self._latecomers.take_in()
            found = named(self.registry.domains.values(), text)
        if found is None:
            raise NoSuchDomain(f"No domain is called '{text}'.", hint="See 'virtcard list' for all domains.")
        return found

    async def enable(self, uuid: UUID, options: EnableOptions, caller: Caller) -> Change:
        """Give the domain a virtual reader, in its configuration or while it runs."""
        return await self._enabling.enable(uuid, options, caller)

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Take every virtual reader away, with its card and the wish, and put back what was replaced; or only what was
        hot-plugged."""
        return await self._enabling.disable(uuid, options)

    def meant(self, source: str) -> str:
        """The card that a source of Insert means now, as exactly as it is known: "reader:NAME" for a glob or ""."""
        return self._readers.meant(source)

    async def insert(self, uuid: UUID, source: str, caller: Caller, options: InsertOptions) -> Key | None:
        """Put a card in a reader. None when the domain is off and only the wish was written."""
        return await self._inserter.insert(uuid, source, caller, options)

    async def eject(self, uuid: UUID, options: InsertOptions) -> None:
        """Take the card out; it stays out until an insert, or until the domain starts anew with a wish."""
        await self._inserter.eject(uuid, options)

    async def check(self, uuid: UUID) -> tuple[Finding, ...]:
        """Preflight: what would keep this domain from starting with a reader, and what its hot-plugged ones cost."""
        record = await self._reconciler.changes.read(uuid)
        findings = await self._reconciler.changes.check(record)
        findings += warnings(record.name) if read_slots(record.live_xml) else ()
        yields = record.running and self._yields(record)
        return findings + (self.viewers.findings(uuid) if yields else ())

    async def meet_viewers(self) -> None:
        """The line to libvirt is up: who is connected to machines that run already is asked for by and by."""
        await self._meeting.begin()

    def _yields(self, record: DomainRecord) -> bool:
        """Some rule lets a viewer's card go before the host's."""
        return self._reconciler.permits.yields_to_viewers(self._reconciler.request(record, ""))

    async def reload_policy(self) -> None:
        """Read the policy files anew; PolicyBroken when they are bad."""
        await self._reconciler.permits.policies.reload()

    def on_policy(self) -> None:
        """The policy was read anew: what it lets no longer in goes out at once, and every machine is looked at."""
        permits = self._reconciler.permits
        self.set_status(policy=permits.policies.state, policy_error=permits.policies.error)
        permits.consents.forget_refusals()
        self.hearing.judge_again()

    @property
    def lives(self) -> bool:
        """No pass goes on without an end."""
        return self._passes.live

    async def full_pass(self) -> None:
        """Look at everything, as it is done slowly again and again."""
        await self._passes.full_pass()

    async def run(self) -> None:
        """The passes and the watch over the policy, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reconciler.permits.policies.watch())
            tasks.create_task(self._passes.run())

    async def close(self) -> None:
        """Every card out, in order; nothing is forgotten, so that the next start puts them in again."""
        await self.tracing.close()
        await self.healer.close()
        await self._turns.close()
        await self._reconciler.permits.consents.close()
        await self._reconciler.bridges.close()
