"""The service as D-Bus sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from virtcard.domain.finding import Finding
from virtcard.domain.setup import BRIDGE, ReaderSetup
from virtcard.domain.setup import reader_setup as reader_setup  # noqa: PLC0414 (a word of the options too)
from virtcard.service.agents import Agents
from virtcard.service.grants import Grants
from virtcard.service.record import Recorder
from virtcard.service.registry import Registry
from virtcard.service.views import Change, StatusView


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it is. `is_owner`: root, or the user whose own virtcardd this is; such a one may write the policy."""

    name: str
    is_owner: bool = False


@dataclass(frozen=True, slots=True)
class EnableOptions:
    """How to enable or disable. `on_existing` is "keep", "replace" or "fail", and "" leaves it to the policy; `setup`
    says where the card lives. With `hotplug` the running machine is meant, and no option counts but `slot`."""

    dry_run: bool = False
    on_existing: str = ""
    setup: ReaderSetup = BRIDGE
    hotplug: bool = False
    slot: int | None = None
    """The reader to take away, None for all that were hot-plugged."""


@dataclass(frozen=True, slots=True)
class InsertOptions:
    """How to insert or eject: `config` is about the wish in the metadata, too; `slot` None is the first reader."""

    config: bool = False
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class CardWish:
    """A software card to be made: "piv" or "cac"; an empty subject is the card's name."""

    type: str = "piv"
    subject: str = ""
    algorithm: str = "rsa2048"


class CardCalls(Protocol):
    """The software cards. `user` is the uid of whoever calls; where secrets are needed, the answer is the path of a
    one-time socket (`service.onetime`) for that user, which takes a document of `service.confided`."""

    async def create(self, user: int, name: str, wish: CardWish) -> str:
        """Make a card with new keys and certificates."""

    async def import_card(self, user: int, name: str, wish: CardWish) -> str:
        """Make a card with keys that are there already; `wish.type` counts alone."""

    async def import_key(self, user: int, name: str, slot: str, *, replace: bool) -> str:
        """Put a key and its certificate into a slot."""

    async def change_pin(self, user: int, name: str) -> str:
        """Another PIN, by the PIN."""

    async def change_puk(self, user: int, name: str) -> str:
        """Another PUK, by the PUK."""

    async def unblock(self, user: int, name: str) -> str:
        """Another PIN, by the PUK."""

    async def delete(self, name: str) -> None:
        """Remove a card and its keys for good."""

    async def certificates(self, name: str, *, authorities: bool) -> tuple[tuple[str, bytes], ...]:
        """Slot and DER of the card's certificates, or of those that a guest must trust."""


class Tracer(Protocol):
    """Lets users see what bridges carry."""

    def open(self, uuid: UUID, uid: int, user: str, slot: int | None = None) -> Path:
        """The socket where this user gets a trace of a bridge of the domain, else of its first one; DomainStateError
        when it has none."""


class Service(Protocol):
    """Everything a caller may ask for. Each method does it whole, or raises a VirtcardError and changes nothing."""

    registry: Registry
    agents: Agents
    grants: Grants
    record: Recorder
    """Where it goes who was admitted and who was not."""
    cards: CardCalls

    @property
    def tracing(self) -> Tracer:
        """Traces of bridges."""

    def status(self) -> StatusView:
        """How the daemon stands."""

    def listen_status(self, listener: Callable[[StatusView], None]) -> None:
        """Call `listener` whenever `status()` changes."""

    async def find_domain(self, text: str) -> UUID:
        """The domain with this UUID, name or id (tried in virsh's order: id, UUID, name); NoSuchDomain."""

    def meant(self, source: str) -> str:
        """The card that a source of Insert means now, as exactly as it is known: "reader:NAME" for a glob or ""."""

    async def enable(self, uuid: UUID, options: EnableOptions, caller: Caller) -> Change:
        """Give the domain a virtual reader in its configuration, or with `hotplug` while it runs: PolicyDenied when no
        rule says so."""

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        """Take the virtual reader away and put back what it replaced; hot-plugged readers go, too."""

    async def insert(self, uuid: UUID, source: str, caller: Caller, options: InsertOptions) -> tuple[UUID, int] | None:
        """Put a card in a reader, else in the first one; "" takes the only card that fits. Returns the bridge's key
        when it is in.

        PolicyDenied when the policy, or a person whom it asks, says no.

        `options.config` also writes the wish into the domain's metadata, so that every start inserts it, and gives it a
        reader for that; for a domain that is off that is all, and there is no bridge to return."""

    async def eject(self, uuid: UUID, options: InsertOptions) -> None:
        """Take the card out of a reader, else of the first one; `options.config` also removes the wish."""

    async def reload_policy(self) -> None:
        """Read the policy files anew; PolicyBroken when they are bad."""

    async def check(self, uuid: UUID) -> tuple[Finding, ...]:
        """Preflight: what would keep this domain from starting with a reader."""
