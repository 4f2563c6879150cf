"""Yes and no of persons to cards that no call waits for: a wish at the start of a machine, or a changed policy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from virtcard.limits import QUESTIONS_MAX
from virtcard.policy.model import AskFor
from virtcard.service.insertions import Insertions
from virtcard.service.permission import Ask, Consent, ConsentNeeded
from virtcard.service.question import Answer, Choice, Heard

log = logging.getLogger(__name__)

FAILED: Final = Answer(Choice.DENY, "The question failed; the journal tells why.", heard=Heard.SILENCE)


@dataclass(slots=True)
class _Said:
    """What came of the questions about the cards of one domain, but for each yes."""

    no: dict[Consent, Answer] = field(default_factory=dict)
    asking: dict[Consent, asyncio.Task[None]] = field(default_factory=dict)


class Consents:
    """Belongs to the event loop's thread. A question is asked in the background, and after a person's no not again.

    A yes is kept for the run of the machine, by `insertions`, also over a restart of the daemon."""

    def __init__(self, ask: Ask, on_answer: Callable[[UUID], None], insertions: Insertions) -> None:
        """`on_answer` is told of domains whose cards may be asked for anew, or have their answer."""
        self.ask = ask
        self._on_answer = on_answer
        self._insertions = insertions
        self._said: dict[UUID, _Said] = {}

    def given(self, uuid: UUID) -> frozenset[Consent]:
        """What persons said yes to."""
        return self._insertions.consents(uuid)

    def give(self, uuid: UUID, consent: Consent) -> None:
        """Take note of a yes."""
        self._insertions.give(uuid, consent)

    def want(self, needed: ConsentNeeded) -> str:
        """Ask, unless that was done before; how it stands, as a sentence."""
        said = self._said.setdefault(needed.request.uuid, _Said())
        consent = needed.consent
        if consent in said.no:
            return said.no[consent].why
        if consent in self.given(needed.request.uuid):  # it came while the card was being opened
            self._on_answer(needed.request.uuid)
        elif consent not in said.asking:
            task = asyncio.get_running_loop().create_task(self._ask(said, needed))
            said.asking[consent] = task
        return needed.message

    def forget(self, uuid: UUID) -> None:
        """The machine has ended, or its card was taken out: the next one is asked for anew."""
        self._insertions.take_back(uuid)
        self._drop(uuid)

    def forget_refusals(self) -> None:
        """The policy changed, and may ask otherwise or others."""
        for said in self._said.values():
            said.no.clear()

    def ask_again(self) -> None:
        """Somebody else is there, or can be asked now: what no person has answered may be asked once more."""
        for uuid in self._without_no((Heard.SILENCE, Heard.UNASKED)):
            self._on_answer(uuid)

    def ask_next(self) -> None:
        """There is room for a question: some of those that never were one. The others wait for the next room."""
        for uuid in self._without_no((Heard.UNASKED,), QUESTIONS_MAX):
            self._on_answer(uuid)

    async def close(self) -> None:
        """Take every question back; what was said yes to holds."""
        tasks = [task for said in self._said.values() for task in said.asking.values()]
        for uuid in tuple(self._said):
            self._drop(uuid)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, uuid: UUID) -> None:
        said = self._said.pop(uuid, None)
        for task in said.asking.values() if said else ():
            task.cancel()

    def _without_no(self, heard: Container[Heard], most: int | None = None) -> list[UUID]:
        """Forget each no of this kind, of so many domains; those that had one."""
        found: list[UUID] = []
        for uuid, said in self._said.items():
            if len(found) == most:
                break
            left = {consent: answer for consent, answer in said.no.items() if answer.heard not in heard}
            if len(left) < len(said.no):
                said.no = left
                found.append(uuid)
        return found

    async def _ask(self, said: _Said, needed: ConsentNeeded) -> None:
        answer = FAILED
        try:
            answer = await self.ask(needed.request, needed.rule, AskFor.INSERT, None)
        except Exception:
            log.exception("domain %s: asking for %s failed", needed.request.uuid, needed.request.card)
        del said.asking[needed.consent]
        if answer.allowed:
            self.give(needed.request.uuid, needed.consent)
        else:
            said.no[needed.consent] = answer
        self._on_answer(needed.request.uuid)
