"""What the service shows of itself: frozen records, one for each D-Bus object."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from virtcard.bridge.status import BridgeState as BridgeState  # noqa: PLC0414 (a word of the views too)
from virtcard.card.audit import Counts as Counts  # noqa: PLC0414 (a word of the views too)
from virtcard.card.soft.summary import Summary
from virtcard.domain.finding import Finding
from virtcard.domain.state import VirtualReader as VirtualReader  # noqa: PLC0414 (a word of the views too)


@dataclass(frozen=True, slots=True)
class DomainView:
    """One libvirt domain. `id` is -1 when it is off; `state` is virsh's word ("running", "shut off")."""

    uuid: UUID
    name: str
    id: int
    state: str
    persistent: bool
    enabled: bool
    """The configuration (inactive XML) holds our virtual reader."""
    live: bool
    """The running machine has our virtual reader."""
    reader: VirtualReader
    wish: str
    """The source that the metadata asks for, or ""."""
    card: str
    """The source that shall be in the reader now, or "": in the first one, when there are several."""
    foreign: str
    """A smart card device that is not ours, in words ("spicevmc"), or ""."""
    last_error: str = ""
    mode: str = ""
    """The mode of the virtual reader in the configuration, or ""."""
    tags: tuple[str, ...] = ()
    """What the metadata calls it, for rules of the policy."""
    hint: str = ""
    """What to do about `last_error`, or ""."""
    hotplugged: tuple[int, ...] = ()
    """Slots of the readers that it got while it runs."""

    @property
    def has_reader(self) -> bool:
        """The running machine has a virtual reader."""
        return self.live or bool(self.hotplugged)


@dataclass(frozen=True, slots=True)
class ReaderView:
    """One host PC/SC reader. `number` is stable while the reader stays."""

    number: int
    name: str
    present: bool
    """A card is in it."""
    atr: bytes
    """The card's own ATR, or empty."""
    domains: tuple[UUID, ...] = ()
    """Domains whose bridges use it."""


@dataclass(frozen=True, slots=True)
class BridgeView:
    """One bridge. `since` tells when it came into its state, in microseconds since the epoch; `slot` is 0 unless the
    reader was hot-plugged."""

    uuid: UUID
    slot: int
    source: str
    endpoint: str
    state: BridgeState
    since: int
    apdus: int = 0
    last_error: str = ""
    counts: Counts = field(default_factory=Counts)
    """What its cards were asked."""
    traced_by: tuple[str, ...] = ()
    """The users who trace it now."""
    hint: str = ""
    """What to do about `last_error`, or ""."""
    active: bool = False
    """Its guest talked to the card in the last few seconds."""


@dataclass(frozen=True, slots=True)
class CardView:
    """One software card. Of a damaged one only the name is known, and `last_error` says what is wrong."""

    card: Summary
    domains: tuple[UUID, ...] = ()
    """Domains whose bridges use it."""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class StatusView:
    """The daemon itself. `libvirt` and `pcsc` are "connected", "connecting" or "away"."""

    version: str
    uri: str
    libvirt: str
    pcsc: str
    instance: str
    """"system" or "session"."""
    policy: str = "ok"
    """"ok", "degraded" (the last good policy is in use) or "broken" (nothing is allowed)."""
    policy_error: str = ""
    """The first thing that is wrong with the policy files, with file, line and key, or ""."""
    started: int = 0
    """When the daemon did, in microseconds since the epoch."""
    libvirt_error: str = ""
    """Why libvirt was not reached when it was last tried, or ""."""
    libvirt_version: str = ""
    """Versions are "" while they are not known."""
    qemu_version: str = ""
    pcsc_version: str = ""
    metrics: str = ""
    """The file of metrics, or "" when none is written."""
    agents: tuple[int, ...] = ()
    """The uids of the users who have an agent, so that they can be asked."""


@dataclass(frozen=True, slots=True)
class Change:
    """What enable or disable did, or would do with `dry_run`."""

    changed: bool
    diff: str
    """Unified diff of the inactive XML, "" when nothing changes."""
    pending: bool
    """It takes effect after the domain is fully powered off."""
    findings: tuple[Finding, ...] = field(default=())
    slots: tuple[int, ...] = ()
    """Hot-plugged readers that came or went."""
