"""Domains that libvirt has and we do not know yet: events come a little later than the domains they tell of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import inf

from virtcard.limits import LATECOMER_GAP


class Latecomers:
    """Looks for them when somebody asks for a domain that we do not know, seldom enough that nobody can keep us busy.

    Whoever asks while a look is still to begin shares it: everybody may ask, for any name.
    """

    def __init__(self, look: Callable[[], Awaitable[None]], gap: float = LATECOMER_GAP) -> None:
        self._look = look
        self._gap = gap
        self._looking = asyncio.Lock()
        self._begun = -inf

    async def take_in(self) -> None:
        """Return when a look that began after this call has ended; its error is raised for the one that made it."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._looking:
            if self._begun > asked:
                return
            await asyncio.sleep(max(0.0, self._begun + self._gap - loop.time()))
            self._begun = loop.time()
            await self._look()
