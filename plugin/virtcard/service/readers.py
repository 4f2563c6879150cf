"""Host readers on the shelf: numbers that stay while a reader stays, and which domains use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from virtcard.card.reader import ReaderInfo
from virtcard.card.reader_source import choose
from virtcard.card.reader_watcher import ReaderAdded, ReaderChanged, ReaderEvent, ReaderRemoved, ServiceChanged
from virtcard.errors import NoSuchReader
from virtcard.service.registry import Shelf
from virtcard.service.views import ReaderView


class Readers:
    """Takes what the watcher thread reports to the event loop's thread and puts it on the shelf."""

    def __init__(
        self, shelf: Shelf[int, ReaderView], on_change: Callable[[], None], on_service: Callable[[str], None]
    ) -> None:
        self._shelf = shelf
        self._on_change = on_change
        self._on_service = on_service
        self._loop = asyncio.get_running_loop()
        self._users: dict[str, tuple[UUID, ...]] = {}

    def hear(self, event: ReaderEvent) -> None:
        """Something the watcher saw, from its thread."""
        self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: ReaderEvent) -> None:
        match event:
            case ReaderRemoved(reader):
                self._shelf.drop(self._number(reader.name))
            case ReaderAdded(reader) | ReaderChanged(_, reader):
                self._put(self._number(reader.name), reader)
            case ServiceChanged(service):
                self._on_service(service)
        self._on_change()

    def _number(self, name: str) -> int:
        """The number of the reader with this name, or the first free one."""
        numbers = {view.name: number for number, view in self._shelf.items()}
        free = next(number for number in range(len(numbers) + 1) if number not in numbers.values())
        return numbers.get(name, free)

    def _put(self, number: int, reader: ReaderInfo) -> None:
        domains = self._users.get(reader.name, ())
        self._shelf.put(number, ReaderView(number, reader.name, reader.present, reader.atr, domains))

    def use(self, users: dict[str, tuple[UUID, ...]]) -> None:
        """Show which domains use which reader, by reader name."""
        self._users = users
        for number, view in self._shelf.items():
            self._shelf.put(number, replace(view, domains=users.get(view.name, ())))

    def atr(self, name: str) -> bytes:
        """The ATR of the card in the reader of that name, or b""."""
        return next((view.atr for view in self._shelf.values() if view.name == name), b"")

    def meant(self, source: str) -> str:
        """The same with the name of the one reader that a glob, or "", fits now; as it is when that is not one."""
        scheme, _, pattern = (source or "reader:*").partition(":")
        if scheme != "reader":
            return source
        readers = self._shelf.values() if source else self.with_card()
        try:
            return f"reader:{choose([ReaderInfo(each.name, each.present, each.atr) for each in readers], pattern).name}"
        except NoSuchReader:
            return source

    def with_card(self) -> list[ReaderView]:
        """Readers that hold a card."""
        return [view for view in self._shelf.values() if view.present]
