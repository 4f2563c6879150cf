"""A whole daemon but the bus, in this process, on libvirt's test driver; and whoever else uses that libvirt.

The node of a `test:///FILE` URI belongs to one connection, so everybody here shares the daemon's.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import libvirt
import pytest

from helpers.bus import eventually
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.fake_card import FakeCard
from helpers.qemu_peer import QemuPeer
from helpers.virtcardd import ALLOW_ALL
from virtcard.bridge.status import BridgeState
from virtcard.card.base import Card, Source
from virtcard.card.sources import Sources
from virtcard.daemon.folders import make_socket_dir
from virtcard.daemon.run import Daemon
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.libvirt.reading import INACTIVE_SECURE
from virtcard.domain.uri import parse_uri
from virtcard.errors import NoSuchReader, VirtcardError
from virtcard.names import METADATA_KEY, WISH_NAMESPACE, socket_name
from virtcard.policy.folders import Folders
from virtcard.service.api import Caller, EnableOptions, InsertOptions
from virtcard.service.asking import Asking
from virtcard.service.core import VirtcardService
from virtcard.service.permission import Ask
from virtcard.service.views import BridgeView, DomainView
from virtcard.settings import Settings

T = TypeVar("T")


OWNER = Caller("root", is_owner=True)
"""May write the policy, and so is not asked."""


class FakeSource:
    """The `reader:` scheme: cards by name. An error in place of a card is raised; `gate` holds every open up."""

    def __init__(self) -> None:
        self.cards: dict[str, Card | Exception] = {"one": FakeCard(), "two": FakeCard()}
        self.opened: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def open(self, rest: str) -> Card:
        """The card of that name."""
        self.opened.append(rest)
        assert self.gate.wait(30), "the test never opened the gate"
        card = self.cards.get(rest)
        if card is None:
            raise NoSuchReader(f'No reader matches "{rest}".')
        if isinstance(card, Exception):
            raise card
        return card

    def card(self, name: str) -> FakeCard:
        """The card of that name."""
        card = self.cards[name]
        assert isinstance(card, FakeCard)
        return card


class ServiceLab:
    """Made by `service_lab`."""

    def __init__(self, daemon: Daemon, source: FakeSource, stack: ExitStack) -> None:
        self.daemon = daemon
        self.source = source
        self._stack = stack

    @property
    def service(self) -> VirtcardService:
        """What is under test."""
        return self.daemon.service

    def socket(self, name: str) -> Path:
        """Where the VSCard socket of a domain belongs."""
        return self.daemon.settings.socket_dir / socket_name(domain_uuid(name))

    def reader(self, name: str) -> str:
        """The devices that make the virtual reader of a domain."""
        return reader_xml(self.socket(name))

    def peer(self, name: str) -> QemuPeer:
        """A stand-in for that domain's QEMU, ended with the lab."""
        peer = QemuPeer(self.socket(name))
        self._stack.callback(peer.close)
        return peer

    def view(self, name: str) -> DomainView:
        """The domain as the service shows it."""
        view = self.service.registry.domains.get(domain_uuid(name))
        assert view is not None, f"{name} is not shown"
        return view

    def bridge(self, name: str) -> BridgeView | None:
        """The domain's bridge, if it has one."""
        return self.service.registry.bridges.get((domain_uuid(name), 0))

    def trouble(self, name: str) -> str:
        """What its bridge says is wrong."""
        bridge = self.bridge(name)
        return bridge.last_error if bridge else ""

    def ended(self, name: str) -> bool:
        """Its bridge has ended, and nobody stopped it."""
        bridge = self.bridge(name)
        return bridge is not None and bridge.state is BridgeState.CLOSED

    async def enable(self, name: str, on_existing: str = "") -> Any:
        """VirtcardService.enable."""
        return await self.service.enable(domain_uuid(name), EnableOptions(on_existing=on_existing), OWNER)

    async def disable(self, name: str) -> Any:
        """VirtcardService.disable."""
        return await self.service.disable(domain_uuid(name), EnableOptions())

    async def insert(self, name: str, source: str, *, config: bool = False, caller: Caller = OWNER) -> Any:
        """VirtcardService.insert."""
        return await self.service.insert(domain_uuid(name), source, caller, InsertOptions(config))

    async def eject(self, name: str, *, config: bool = False) -> None:
        """VirtcardService.eject."""
        await self.service.eject(domain_uuid(name), InsertOptions(config))

    async def user(self, act: Callable[[libvirt.virConnect], T]) -> T:
        """What another user of this libvirt does."""

        def on_worker(hypervisor: Hypervisor) -> T:
            return act(hypervisor._open_connection())

        return await self.daemon.link.call(on_worker)

    async def define(self, xml: str) -> None:
        """Another user defines a domain."""
        await self.user(lambda connection: connection.defineXML(xml))

    async def act(self, name: str, method: str, *args: object) -> Any:
        """Another user calls a method of a domain."""
        uuid = domain_uuid(name)
        return await self.user(lambda connection: getattr(connection.lookupByUUID(uuid.bytes), method)(*args))

    async def wish(self, name: str, xml: str | None, flags: int = libvirt.VIR_DOMAIN_AFFECT_CONFIG) -> None:
        """Another user writes the wish, as `virsh metadata` does."""
        element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        await self.act(name, "setMetadata", element, xml, METADATA_KEY, WISH_NAMESPACE, flags)

    async def xml(self, name: str) -> str:
        """The domain's configuration."""
        text = await self.act(name, "XMLDesc", INACTIVE_SECURE)
        return str(text)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until it is so."""
        await eventually(condition, what)

    async def inserted(self, name: str, peer: QemuPeer) -> None:
        """Wait until the guest has a card and the service says so."""
        await self.until(lambda: peer.atr is not None, f"{name} has a card")
        await self.until(lambda: self._state(name) == "inserted", f"{name} is shown with a card")

    async def empty(self, name: str, peer: QemuPeer) -> None:
        """Wait until the guest's reader is empty and the service says so."""
        await self.until(lambda: peer.atr is None and peer.connected.is_set(), f"{name} has no card")
        await self.until(lambda: self._state(name) == "empty", f"{name} is shown without a card")

    def insertion(self, name: str) -> str | None:
        """What a call put in that domain, as it is remembered."""
        insertion = self.service._reconciler.insertions.get(domain_uuid(name))
        return insertion.source if insertion else None

    async def policy(self, *rules: str) -> None:
        """The admin's file has these rules from now on, and the service was told."""
        self.write_policy(*rules)
        await self.service.reload_policy()

    def write_policy(self, *rules: str) -> None:
        """The admin's file has these rules from now on."""
        folder = self.daemon.settings.policy.admin
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / "50-test.part"
        partial.write_text("".join(f"[[rule]]\n{rule}\n" for rule in rules))
        partial.rename(folder / "50-test.toml")

    def _state(self, name: str) -> str:
        bridge = self.bridge(name)
        return bridge.state if bridge else ""

    async def settled(self) -> None:
        """Let everything that is due happen, and look at all domains once more."""
        await asyncio.sleep(0)
        await self.service.full_pass()


@asynccontextmanager
async def service_lab(
    *domains: str,
    session: bool = True,
    directory: Path | None = None,
    source: FakeSource | None = None,
    policy: str = ALLOW_ALL,
    ask: Ask | None = None,
) -> AsyncIterator[ServiceLab]:
    """The daemon, with these domains there from the start and its first pass done. `policy` are the vendor's rules."""
    source = source or FakeSource()
    with ExitStack() as stack:
        home = directory or Path(tempfile.mkdtemp(prefix="vc-"))
        if directory is None:
            stack.callback(shutil.rmtree, home)
        node = home / "node.xml"
        node.write_text(f"<node>{''.join(domains)}</node>")
        uri = parse_uri(f"test://{node}", {})
        sockets = home / "virtcard"
        sockets.mkdir(exist_ok=True)
        stack.enter_context(only_source(source))
        if ask is not None:
            stack.enter_context(patch.object(Asking, "__call__", lambda _asking, *arguments: ask(*arguments)))
        folders = Folders(home / "policy/admin", home / "policy/grants", home / "policy/vendor", frozenset())
        folders.vendor.mkdir(parents=True, exist_ok=True)
        (folders.vendor / "50-vendor.toml").write_text(policy)
        daemon = Daemon(Settings(session, uri, sockets, home / "virtcardd", folders))
        make_socket_dir(daemon.settings)
        await daemon.reload_policy()
        tasks = [asyncio.create_task(daemon.link.run()), asyncio.create_task(daemon.service.run())]
        try:
            async with asyncio.timeout(10):
                await daemon._first_pass.wait()
            yield ServiceLab(daemon, source, stack)
        finally:
            await daemon._end(tasks)


def only_source(source: Source) -> AbstractContextManager[object]:
    """What a daemon made meanwhile has for `reader:`, and nothing else."""
    return patch("virtcard.card.sources.Sources.installed", lambda surroundings: Sources({"reader": source}))


@asynccontextmanager
async def running_lab(
    metadata: str = "",
    directory: Path | None = None,
    source: FakeSource | None = None,
    policy: str = ALLOW_ALL,
    ask: Ask | None = None,
) -> AsyncIterator[tuple[ServiceLab, QemuPeer]]:
    """A lab with one domain, `run`, which runs with its reader."""
    async with service_lab(directory=directory, source=source, policy=policy, ask=ask) as lab:
        await lab.define(domain_xml("run", devices=XHCI + lab.reader("run"), metadata=metadata))
        peer = lab.peer("run")
        await lab.act("run", "create")
        await lab.until(lambda: lab.bridge("run"), "it has a bridge")
        yield lab, peer


async def refused(call: Any, kind: type[VirtcardError]) -> VirtcardError:
    """The error with which a call is refused."""
    with pytest.raises(kind) as caught:
        await call
    return caught.value


def has_card(peer: QemuPeer) -> bool:
    """The guest sees a card now."""
    return peer.atr is not None


def wish_xml(source: str) -> str:
    """The wish as a person writes it."""
    return f"<vm card='{source}'/>"


def wish_metadata(source: str) -> str:
    """The wish as it stands in `<metadata>`."""
    return f"<virtcard:vm xmlns:virtcard='{WISH_NAMESPACE}' card='{source}'/>"
