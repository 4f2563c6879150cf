"""Software cards on the shelf: as their files are, whoever changes them, and which domains use them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final
from uuid import UUID

from virtcard.card.soft.store import Store
from virtcard.card.soft.summary import Summary, summary
from virtcard.card.soft.watch import appeared, changed_cards
from virtcard.errors import Failed, NoSuchCard, VirtcardError
from virtcard.limits import CARD_SETTLE, RECONCILE_PERIOD
from virtcard.service.bridges import Key
from virtcard.service.registry import Registry
from virtcard.service.threads import start
from virtcard.service.views import BridgeView, CardView

log = logging.getLogger(__name__)

SCHEME: Final = "card:"


class Cards:
    """Belongs to the event loop's thread; files are read on threads of their own."""

    def __init__(self, registry: Registry, store: Store) -> None:
        self._shelf = registry.cards
        self._store = store
        self._looking = asyncio.Lock()
        self._dirty: set[str | None] = set()
        self._heard = asyncio.Event()
        self._users: dict[str, tuple[Key, ...]] = {}
        """Bridges that use a card, or are about to, by its name."""
        for key, bridge in registry.bridges.items():
            self._on_bridge(key, None, bridge)
        registry.bridges.listen(self._on_bridge)

    async def run(self) -> None:
        """Follow the store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._keep_looking())

    async def look(self, name: str) -> None:
        """Show this card as it is on disk now."""
        async with self._looking:
            view = await asyncio.wrap_future(start(_read, self._store, name))
            if view is None:
                self._shelf.drop(name)
            else:
                self._shelf.put(name, replace(view, domains=self._domains(name)))

    async def look_at_all(self) -> None:
        """Show every card as it is on disk now."""
        shown = {name for name, _ in self._shelf.items()}
        for name in sorted(shown | set(await asyncio.wrap_future(start(_names, self._store)))):
            await self.look(name)

    async def _follow(self) -> None:
        while True:
            self._hear(None)  # the directory may have gone a moment ago
            try:
                await appeared(self._store.directory)
                async for name in changed_cards(self._store.directory):
                    self._hear(name)
            except OSError as error:
                log.warning("the cards in %s cannot be watched: %s", self._store.directory, error.strerror)
                await asyncio.sleep(RECONCILE_PERIOD)

    def _hear(self, name: str | None) -> None:
        self._dirty.add(name)
        self._heard.set()

    async def _keep_looking(self) -> None:
        while True:
            await self._heard.wait()
            await asyncio.sleep(CARD_SETTLE)
            self._heard.clear()
            dirty, self._dirty = self._dirty, set()
            try:
                await self._look_at(dirty)
            except Failed as error:
                log.warning("the cards in %s are looked at later: %s", self._store.directory, error.message)
                self._dirty |= dirty
                self._heard.set()
                await asyncio.sleep(RECONCILE_PERIOD)

    async def _look_at(self, dirty: set[str | None]) -> None:
        if None in dirty:
            await self.look_at_all()
        else:
            for name in sorted(each for each in dirty if each):
                await self.look(name)

    def _on_bridge(self, key: Key, old: BridgeView | None, new: BridgeView | None) -> None:
        before, now = _card(old), _card(new)
        if before == now:
            return
        if before:
            self._use(before, tuple(user for user in self._users.get(before, ()) if user != key))
        if now:
            self._use(now, (*self._users.get(now, ()), key))

    def _use(self, name: str, users: tuple[Key, ...]) -> None:
        self._users[name] = users
        if not users:
            del self._users[name]
        view = self._shelf.get(name)
        if view is not None:
            self._shelf.put(name, replace(view, domains=self._domains(name)))

    def _domains(self, name: str) -> tuple[UUID, ...]:
        """Those that use a card, each once whatever number of its readers shows it."""
        return tuple(dict.fromkeys(uuid for uuid, _slot in self._users.get(name, ())))


def _card(view: BridgeView | None) -> str:
    """The name of the software card that is in, or ""."""
    return view.source.removeprefix(SCHEME) if view and view.source.startswith(SCHEME) else ""


def _read(store: Store, name: str) -> CardView | None:
    """The card; None when it is not there, and only its name when it cannot be read."""
    try:
        return CardView(summary(store.read(name)))
    except NoSuchCard:
        return None
    except VirtcardError as error:
        return CardView(Summary(name), last_error=error.message)
    except Exception:
        log.exception("the card %s cannot be shown", name)
        return CardView(Summary(name), last_error=f"The card {name} cannot be shown; the journal tells why.")


def _names(store: Store) -> tuple[str, ...]:
    try:
        return store.names()
    except (VirtcardError, OSError) as error:
        log.warning("the cards in %s cannot be read: %s", store.directory, error)
        return ()
