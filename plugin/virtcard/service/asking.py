"""How an `ask` of the policy reaches the person at the machine: before a card goes in, and within a command."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from weakref import WeakValueDictionary

from virtcard.card.errand import errand
from virtcard.limits import ASK_IN_COMMAND_PATIENCE
from virtcard.policy.decide import Request
from virtcard.policy.model import AskFor, Rule
from virtcard.service.agents import Agents
from virtcard.service.api import Caller
from virtcard.service.ask import Asker
from virtcard.service.question import Answer, Choice, Key, question
from virtcard.service.seat import Seat
from virtcard.service.wardrobe import Fitting

ANSWER_GRACE = 1.0
"""Seconds beyond its patience in which the asker says no by itself."""


class Asking:
    """A `permission.Ask`. Belongs to the event loop's thread, but for `in_command`."""

    def __init__(self, asker: Asker, seat: Seat, agents: Agents) -> None:
        self._asker = asker
        self._seat = seat
        self._agents = agents
        self._loop = asyncio.get_running_loop()
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, request: Request, rule: Rule, operation: AskFor, caller: Caller | None) -> Answer:
        """The person's answer. A call of the daemon's owner is an own act where no agent runs."""
        if caller is not None and caller.is_owner and not self._has_agent():
            return Answer(Choice.ONCE)
        return await self._asker.ask(question(request, rule, operation))

    def in_command(self, fitting: Fitting, operation: AskFor) -> bool:
        """The same in a bridge's thread, while the guest waits for its command: yes, or no. When the guest waits no
        more, the question goes from the screen; NotSent."""
        asking = asyncio.run_coroutine_threadsafe(self._ask_now(fitting, operation), self._loop)
        try:
            with errand().woken_by(asking.cancel):
                return asking.result(ASK_IN_COMMAND_PATIENCE + ANSWER_GRACE).allowed
        except (TimeoutError, CancelledError):
            asking.cancel()
            errand().check()
            return False

    async def _ask_now(self, fitting: Fitting, operation: AskFor) -> Answer:
        """About the card that is in the reader now: an answer to the one before it says nothing about this one.

        Commands that ask the same, of two readers with one card, ask in turn: a yes for once is for one of them."""
        request, rule = fitting.request(), fitting.rule()
        if not rule.asks_for(operation):
            return Answer(Choice.ONCE)
        async with self._turns.setdefault(question(request, rule, operation).key, asyncio.Lock()):
            return await self(request, rule, operation, None)

    def _has_agent(self) -> bool:
        person = self._seat.presence.person
        return person is not None and self._agents.of(person.uid) is not None
