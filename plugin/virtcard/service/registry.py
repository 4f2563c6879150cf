"""What exists now, as views. Whoever shows it elsewhere (D-Bus) listens here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from uuid import UUID

from virtcard.service.views import BridgeView, CardView, DomainView, ReaderView

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

log = logging.getLogger(__name__)

Listener = Callable[[K, V | None, V | None], None]
"""Called with key, old and new view: no old one means added, no new one means removed. One that fails keeps the change
from nobody else, and not from whoever made it."""


class Shelf(Generic[K, V]):
    """One kind of view by key. Not thread-safe: it belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._views: dict[K, V] = {}
        self._listeners: list[Listener[K, V]] = []

    def listen(self, listener: Listener[K, V]) -> None:
        """Call `listener` for every change from now on."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener[K, V]) -> None:
        """Stop calling `listener`."""
        self._listeners.remove(listener)

    def get(self, key: K) -> V | None:
        """The view of `key`, or None."""
        return self._views.get(key)

    def items(self) -> list[tuple[K, V]]:
        """All of them, in the order they came."""
        return list(self._views.items())

    def values(self) -> list[V]:
        """All views, in the order they came."""
        return list(self._views.values())

    def put(self, key: K, view: V) -> None:
        """Add or replace a view; listeners hear of it only when it differs."""
        old = self._views.get(key)
        if old != view:
            self._views[key] = view
            self._tell(key, old, view)

    def drop(self, key: K) -> None:
        """Remove a view if it is there."""
        old = self._views.pop(key, None)
        if old is not None:
            self._tell(key, old, None)

    def _tell(self, key: K, old: V | None, new: V | None) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(key, old, new)
            except Exception:
                log.exception("somebody who listens to changes failed")


class Registry:
    """The shelves that D-Bus shows as objects."""

    def __init__(self) -> None:
        self.domains: Shelf[UUID, DomainView] = Shelf()
        self.readers: Shelf[int, ReaderView] = Shelf()
        self.bridges: Shelf[tuple[UUID, int], BridgeView] = Shelf()
        self.cards: Shelf[str, CardView] = Shelf()
