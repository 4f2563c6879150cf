"""A service without libvirt, PC/SC or bridges: what it is told to hold and to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from virtcard.card.soft.summary import KeySummary, Summary
from virtcard.domain.finding import Finding, Severity
from virtcard.errors import NoSuchDomain
from virtcard.service.agents import Agents
from virtcard.service.api import Caller, CardCalls, CardWish, EnableOptions, InsertOptions
from virtcard.service.grants import Grants
from virtcard.service.record import Record
from virtcard.service.registry import Registry
from virtcard.service.views import (
    BridgeState,
    BridgeView,
    CardView,
    Change,
    DomainView,
    ReaderView,
    StatusView,
    VirtualReader,
)

WIN11 = UUID("c9024a97-9b15-46cc-8341-38d75d5d421b")
FEDORA = UUID("11111111-2222-3333-4444-555555555555")

FINDING = Finding(Severity.WARNING, "no-usb3", "The domain has USB 1 only.", "Add a qemu-xhci controller.")


def domain_view(uuid: UUID = WIN11, name: str = "win11") -> DomainView:
    """A running domain with a reader and no card."""
    return DomainView(uuid, name, 3, "running", True, True, True, VirtualReader.PRESENT, "", "", "", mode="bridge")


def reader_view(number: int = 0) -> ReaderView:
    """A host reader with a card."""
    return ReaderView(number, f"Yubico YubiKey {number:02}", True, bytes.fromhex("3B0A"), (WIN11,))


def bridge_view(uuid: UUID = WIN11) -> BridgeView:
    """A bridge with a card in it."""
    endpoint = f"unix:///run/virtcard/vm/{uuid}.sock"
    return BridgeView(uuid, 0, "reader:Yubico*", endpoint, BridgeState.INSERTED, 1_700_000_000_000_000, 7)


def card_view(name: str = "jane") -> CardView:
    """A PIV card with one key, in no domain."""
    key = KeySummary("9a", "p256", "generated", "CN=Jane", "2029-01-01T00:00:00Z")
    return CardView(Summary(name, "piv", 4711, "2026-01-01T00:00:00Z", 3, 2, (key,)))


class FakeCards:
    """Implements `virtcard.service.api.CardCalls`: notes its calls, and offers `socket`, which is not there."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.socket = "/run/virtcardd/once-fake"
        self._free = asyncio.Event()
        self._free.set()

    def begin_to_hold(self) -> None:
        """`create` waits from now on."""
        self._free.clear()

    def let_go(self) -> None:
        """It goes on."""
        self._free.set()

    async def create(self, user: int, name: str, wish: CardWish) -> str:
        path = self._note("create", user, name, wish)
        await self._free.wait()
        return path

    async def import_card(self, user: int, name: str, wish: CardWish) -> str:
        return self._note("import_card", user, name, wish)

    async def import_key(self, user: int, name: str, slot: str, *, replace: bool) -> str:
        return self._note("import_key", user, name, slot, replace)

    async def change_pin(self, user: int, name: str) -> str:
        return self._note("change_pin", user, name)

    async def change_puk(self, user: int, name: str) -> str:
        return self._note("change_puk", user, name)

    async def unblock(self, user: int, name: str) -> str:
        return self._note("unblock", user, name)

    async def delete(self, name: str) -> None:
        self._note("delete", name)

    async def certificates(self, name: str, *, authorities: bool) -> tuple[tuple[str, bytes], ...]:
        self._note("certificates", name, authorities)
        return (("9a", b"\x30\x00"),)

    def _note(self, *call: object) -> str:
        self.calls.append(call)
        return self.socket


class FakeTracer:
    """Implements `virtcard.service.api.Tracer`."""

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note

    def open(self, uuid: UUID, uid: int, user: str, slot: int | None = None) -> Path:
        self._note("trace", uuid, uid, user, slot)
        return Path("/run/virtcardd/once-x")


class FakeService:
    """Implements `virtcard.service.api.Service`. `failure` is raised by every call; `hold` keeps inserts waiting, and
    `hold_looks` checks."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.agents = Agents()
        self.grants = Grants(Path("/dev/null/grants"))  # there are none, and none can be made
        self.records: list[Record] = []
        self.record = self.records.append
        self.pretended_cards = FakeCards()
        self.cards: CardCalls = self.pretended_cards
        self.tracing = FakeTracer(self._note)
        self.meanings: dict[str, str] = {}
        """What sources mean, where that is not what they say."""
        self.calls: list[tuple[object, ...]] = []
        self.callers: list[Caller] = []
        """Who called for cards."""
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.hold_looks: asyncio.Event | None = None
        self.diff = "-old\n+new\n"
        self._status = StatusView("0.1.0", "qemu:///system", "connected", "away", "system")
        self._listeners: list[Callable[[StatusView], None]] = []

    def fill(self) -> FakeService:
        """Put one of each on the shelves."""
        self.registry.domains.put(WIN11, domain_view())
        self.registry.readers.put(0, reader_view())
        self.registry.bridges.put((WIN11, 0), bridge_view())
        return self

    def status(self) -> StatusView:
        return self._status

    def listen_status(self, listener: Callable[[StatusView], None]) -> None:
        self._listeners.append(listener)

    def set_libvirt(self, state: str) -> None:
        """Change the status."""
        self._status = replace(self._status, libvirt=state)
        for listener in self._listeners:
            listener(self._status)

    async def find_domain(self, text: str) -> UUID:
        self._note("find_domain", text)
        for uuid, view in self.registry.domains.items():
            if text in {view.name, str(uuid), str(view.id)}:
                return uuid
        raise NoSuchDomain(f"There is no domain '{text}'.", hint="List them: virtcard list")

    def meant(self, source: str) -> str:
        return self.meanings.get(source, source)

    async def enable(self, uuid: UUID, options: EnableOptions, caller: Caller) -> Change:
        self._note("enable", uuid, options)
        return Change(True, self.diff, True, (FINDING,), (2,))

    async def disable(self, uuid: UUID, options: EnableOptions) -> Change:
        self._note("disable", uuid, options)
        return Change(False, "", False)

    async def reload_policy(self) -> None:
        self._note("reload_policy")

    async def insert(self, uuid: UUID, source: str, caller: Caller, options: InsertOptions) -> tuple[UUID, int] | None:
        self.callers.append(caller)
        self._note("insert", uuid, source, options)
        if self.hold is not None:
            await self.hold.wait()
        view = self.registry.domains.get(uuid)
        return (uuid, options.slot or 0) if view is not None and view.id >= 0 else None

    async def eject(self, uuid: UUID, options: InsertOptions) -> None:
        self._note("eject", uuid, options)

    async def check(self, uuid: UUID) -> tuple[Finding, ...]:
        self._note("check", uuid)
        if self.hold_looks is not None:
            await self.hold_looks.wait()
        return (FINDING,)

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure
