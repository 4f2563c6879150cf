"""Yes and no of persons to cards that no call waits for: a wish at the start of a machine, or a changed policy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from virtcard.policy.model import AskFor
from virtcard.service.permission import Ask, Consent, ConsentNeeded

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Said:
    """What was said to the cards of one domain since its machine started."""

    yes: set[Consent] = field(default_factory=set)
    no: dict[Consent, str] = field(default_factory=dict)
    asking: dict[Consent, asyncio.Task[None]] = field(default_factory=dict)


class Consents:
    """Belongs to the event loop's thread. A question is asked in the background, and once."""

    def __init__(self, ask: Ask, on_yes: Callable[[UUID], None]) -> None:
        self.ask = ask
        self._on_yes = on_yes
        self._said: dict[UUID, _Said] = {}

    def given(self, uuid: UUID) -> frozenset[Consent]:
        """What persons said yes to."""
        said = self._said.get(uuid)
        return frozenset(said.yes) if said else frozenset()

    def give(self, uuid: UUID, consent: Consent) -> None:
        """Take note of a yes."""
        self._said.setdefault(uuid, _Said()).yes.add(consent)

    def want(self, needed: ConsentNeeded) -> str:
        """Ask, unless that was done before; how it stands, as a sentence."""
        said = self._said.setdefault(needed.request.uuid, _Said())
        consent = needed.consent
        if consent in said.no:
            return said.no[consent]
        if consent not in said.asking:
            task = asyncio.get_running_loop().create_task(self._ask(said, needed))
            said.asking[consent] = task
        return needed.message

    def forget(self, uuid: UUID) -> None:
        """The machine has ended, or its card was taken out: the next one is asked for anew."""
        said = self._said.pop(uuid, None)
        for task in said.asking.values() if said else ():
            task.cancel()

    def forget_refusals(self) -> None:
        """The policy changed, and may ask otherwise or others."""
        for said in self._said.values():
            said.no.clear()

    async def close(self) -> None:
        """Take every question back."""
        tasks = [task for said in self._said.values() for task in said.asking.values()]
        for uuid in tuple(self._said):
            self.forget(uuid)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, said: _Said, needed: ConsentNeeded) -> None:
        why = "The question failed; the journal tells why."
        try:
            why = await self.ask(needed.request, needed.rule, AskFor.INSERT, None)
        except Exception:
            log.exception("domain %s: asking for %s failed", needed.request.uuid, needed.request.card)
        del said.asking[needed.consent]
        if why:
            said.no[needed.consent] = why
        else:
            said.yes.add(needed.consent)
        self._on_yes(needed.request.uuid)
