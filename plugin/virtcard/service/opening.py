"""Opens cards beside the event loop: a source that blocks, and it may be somebody else's, holds up nobody else."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial

from virtcard.card.base import Card
from virtcard.card.sources import Sources
from virtcard.errors import TimedOut
from virtcard.service.threads import start

OPEN_PATIENCE = 10.0
"""Seconds that a source may take to open a card; asking pcscd for its readers takes a few milliseconds."""


class Opening:
    """Belongs to the event loop's thread. A source that did not come back is not asked again until it does."""

    def __init__(self, sources: Sources, patience: float = OPEN_PATIENCE) -> None:
        self._sources = sources
        self._patience = patience
        self._stuck: set[str] = set()

    async def open(self, source: str) -> Card:
        """The card behind `source`; TimedOut, or the source's own error. A card that comes too late is powered off."""
        if source in self._stuck:
            raise _timed_out(source)
        future = start(self._sources.open, source)
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(asyncio.wrap_future(future))
        except (TimeoutError, asyncio.CancelledError) as error:
            self._stuck.add(source)
            future.add_done_callback(partial(self._came_late, source))
            raise _timed_out(source) if isinstance(error, TimeoutError) else error from None

    def _came_late(self, source: str, future: Future[Card]) -> None:
        self._stuck.discard(source)
        if future.exception() is None:
            future.result().power_off()


def _timed_out(source: str) -> TimedOut:
    return TimedOut(f"{source} does not open.", hint="Is its reader or its service stuck? Restart it, and try again.")
