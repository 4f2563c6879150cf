"""The service as D-Bus sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from virtcard.domain.finding import Finding
from virtcard.domain.setup import BRIDGE, ReaderSetup
from virtcard.domain.setup import reader_setup as reader_setup  # noqa: PLC0414 (a word of the options too)
from virtcard.service.agents import Agents
from virtcard.service.record import Recorder
from virtcard.service.registry import Registry
from virtcard.service.views import Change, StatusView


@dataclass(frozen=True, slots=True)
class EnableOptions:
    """How to enable or disable. `on_existing` is "keep", "replace" or "fail"; the rest says where the card lives."""

    dry_run: bool = False
    on_existing: str = "keep"
    setup: ReaderSetup = BRIDGE


class Service(Protocol):
    """Everything a caller may ask for. Each method does it whole, or raises a VirtcardError and changes nothing."""

    registry: Registry
    agents: Agents
    record: Recorder
    """Where it goes who was admitted and who was not."""

    def status(self) -> StatusView:
        """How the daemon stands."""

    def listen_status(self, listener: Callable[[StatusView], None]) -> None:
        """Call `listener` whenever `status()` changes."""

    async def find_domain(self, text: str) -> UUID:
        """The domain with this UUID, name or id (tried in virsh's order: id, UUID, name); NoSuchDomain."""

    async def enable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Give the domain a virtual reader in its configuration."""

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Take the virtual reader away and put back what it replaced."""

    async def insert(self, uuid: UUID, source: str, *, config: bool) -> tuple[UUID, int] | None:
        """Put a card in the reader; "" takes the only card that fits. Returns the bridge's key when it is in.

        `config` also writes the wish into the domain's metadata, so that every start inserts it; for a domain that is
        off that is all, and there is no bridge to return."""

    async def eject(self, uuid: UUID, *, config: bool) -> None:
        """Take the card out; `config` also removes the wish."""

    async def check(self, uuid: UUID) -> tuple[Finding, ...]:
        """Preflight: what would keep this domain from starting with a reader."""
