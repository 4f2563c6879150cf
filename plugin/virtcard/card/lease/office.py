"""The lease office of one host reader: our own bridges queue there, first come, first served.

Host programs cannot be seen waiting, so whoever has the lease gives it up by time, and then nobody of ours has it for
a moment: pcscd's waiting clients look about every 100 ms. All calls of ours to the reader that wait for transactions
are made by the one whose turn it is: two handles of one PC/SC context would wait for each other for ever.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from virtcard.card.errand import errand
from virtcard.card.lease.rules import STANDARD, LeaseTimes
from virtcard.errors import MORE_RESOURCES, Busy, CardError, NotSent

log = logging.getLogger(__name__)

LOOK_AGAIN: Final = 0.05
"""Seconds between two looks at one whose turn is over and whose card is still at work."""

PLACE_KEPT: Final = 2.0
"""Times `longest`: how long one who waited in vain keeps the place in the queue for the next try."""


class Holder(Protocol):
    """Who has the turn."""

    def due(self) -> float:
        """When the turn ends by itself (time.monotonic)."""

    def expire(self) -> bool:
        """On the clerk's thread, when it is due: give the turn up; False when that must wait. Never waits itself."""


@dataclass(slots=True, eq=False)
class _Ticket:
    begin: Callable[[], None]
    since: float
    holder: Holder | None = None
    """Who has the turn after `begin`; nobody when that is all."""
    settled: bool = False
    undo: Callable[[], None] | None = None
    """Nobody waits any more, and this is to be done after `begin`."""
    error: CardError | None = None


class LeaseOffice:
    """Thread-safe. Its one thread, the clerk, lives while somebody has the turn or waits for it.

    `last` and `changes` are for whoever has the turn: who had the card before, and how often one of ours changed what
    is on it.
    """

    def __init__(self, reader: str, times: LeaseTimes = STANDARD) -> None:
        self.reader = reader
        self.times = times
        self.last: Holder | None = None
        self.changes = 0
        self._changed = threading.Condition(threading.Lock())
        self._queue: list[_Ticket] = []
        self._places: dict[Holder, float] = {}
        self._holder: Holder | None = None
        self._free_at = 0.0
        self._clerk: threading.Thread | None = None
        self._members: set[Holder] = set()
        self._exclusive: Holder | None = None

    @property
    def waiting(self) -> bool:
        """Somebody of ours waits for the turn."""
        return bool(self._queue)

    # Who may take part.

    def check(self, member: Holder, *, exclusive: bool, instead_of: object = None) -> None:
        """Busy when this member cannot come in now, or as soon as another one is out."""
        with self._changed:
            self._check(member, exclusive=exclusive, instead_of=instead_of)

    def join(self, member: Holder, *, exclusive: bool) -> None:
        """From now on the card is in for this member; Busy when it is, or shall be, for one alone."""
        with self._changed:
            self._check(member, exclusive=exclusive)
            self._members.add(member)
            self._exclusive = member if exclusive else None

    def leave(self, member: Holder) -> None:
        """The card is out for this member."""
        with self._changed:
            self._members.discard(member)
            self._places.pop(member, None)
            if self._exclusive is member:
                self._exclusive = None
            if self.last is member:
                self.last = None

    def _check(self, member: Holder, *, exclusive: bool, instead_of: object = None) -> None:
        if self._exclusive not in (None, member, instead_of):
            raise Busy(
                f'The card in "{self.reader}" is in another virtual machine, which has it for itself.',
                hint="Eject it there first.",
            )
        if exclusive and any(other not in (member, instead_of) for other in self._members):
            raise Busy(
                f'The card in "{self.reader}" is in another virtual machine, and this one shall have it for itself.',
                hint="Eject it there first, or share it.",
            )

    # Whose turn it is.

    def take(
        self, holder: Holder, begin: Callable[[], None], undo: Callable[[], None], check: Callable[[], None]
    ) -> None:
        """Wait for the turn, and for `begin`, which the clerk calls; CardError when that takes too long.

        What was waited for before within the same command counts as well. `check` raises NotSent when the turn is not
        wanted any more; it is asked whenever somebody calls `poke`, and when this thread is given up. `undo` is called
        when `begin` succeeds after all, and nobody waits for it any more.
        """
        mine = errand()
        with mine.woken_by(self.poke), self._changed:
            ticket = _Ticket(begin, self._place(holder), holder)
            self._enqueue(ticket)
            if not self._call_clerk():
                self._queue.remove(ticket)
                raise CardError("The system has no thread left for a shared card.", hint=MORE_RESOURCES)
            try:
                self._changed.wait_for(lambda: _settled(ticket, check), self.times.patience - mine.spent())
            except NotSent:
                self._abandon(holder, ticket, undo)
                raise
            if not ticket.settled:
                self._abandon(holder, ticket, undo)
                raise CardError(
                    f'The card in "{self.reader}" was in use elsewhere for too long.',
                    hint="Wait until the other machines and programs are done with it.",
                )
            self._places.pop(holder, None)
        if ticket.error is not None:
            raise ticket.error

    def later(self, work: Callable[[], None]) -> None:
        """Have the clerk do this when nobody has the turn, after all who wait now."""
        with self._changed:
            self._enqueue(_Ticket(work, time.monotonic()))
            self._call_clerk()  # or with the next clerk

    def release(self, holder: Holder) -> None:
        """The end of a turn."""
        with self._changed:
            if self._holder is holder:
                self._holder = None
                self._free_at = time.monotonic() + self.times.pause
                self._changed.notify_all()

    def poke(self) -> None:
        """The holder may be due earlier than it was."""
        with self._changed:
            self._changed.notify_all()

    def _place(self, holder: Holder) -> float:
        """Since when this one waits: since an earlier try, when that was not long ago."""
        now = time.monotonic()
        since = self._places.get(holder, now)
        return since if now - since < PLACE_KEPT * self.times.longest else now

    def _enqueue(self, ticket: _Ticket) -> None:
        at = next((at for at, other in enumerate(self._queue) if other.since > ticket.since), len(self._queue))
        self._queue.insert(at, ticket)
        self._changed.notify_all()

    def _call_clerk(self) -> bool:
        """There is one; False when the system has no thread left for it."""
        if self._clerk is None:
            clerk = threading.Thread(target=self._serve, name="virtcard-lease", daemon=True)
            try:
                clerk.start()
            except RuntimeError as error:
                log.error("no thread is left for the card in %s: %s", self.reader, error)
                return False
            self._clerk = clerk
        return True

    def _abandon(self, holder: Holder, ticket: _Ticket, undo: Callable[[], None]) -> None:
        """In the queue nobody waits any more; when the clerk is inside `begin`, it shall be undone."""
        self._places[holder] = ticket.since
        ticket.undo = undo
        if ticket in self._queue:
            self._queue.remove(ticket)

    # The clerk.

    def _serve(self) -> None:
        try:
            while (work := self._next_work()) is not None:
                work()
        finally:
            with self._changed:
                if self._clerk is threading.current_thread():
                    self._clerk = None

    def _look_after(self, holder: Holder) -> None:
        try:
            done = holder.expire()
        except Exception:
            log.exception("the end of a lease failed unexpectedly")
            self.release(holder)
            return
        if not done:
            with self._changed:
                self._changed.wait(LOOK_AGAIN)

    def _next_work(self) -> Callable[[], None] | None:
        """Wait for something to do; None when there is nothing to wait for, and the clerk is gone."""
        with self._changed:
            while self._holder is not None or self._queue:
                now = time.monotonic()
                when = self._free_at if self._holder is None else self._holder.due()
                if when > now:
                    self._changed.wait(None if when == math.inf else when - now)
                elif self._holder is not None:
                    return partial(self._look_after, self._holder)
                else:
                    ticket = self._queue.pop(0)
                    return partial(self._grant, ticket)
            self._clerk = None
            return None

    def _grant(self, ticket: _Ticket) -> None:
        error = _tried(ticket.begin)
        with self._changed:
            ticket.error = error
            ticket.settled = True
            undo = ticket.undo if error is None else None
            if error is None and undo is None:
                self._holder = ticket.holder
            self._changed.notify_all()
        if undo is not None:
            _tried(undo)


def _settled(ticket: _Ticket, check: Callable[[], None]) -> bool:
    if not ticket.settled:
        check()
    return ticket.settled


def _tried(step: Callable[[], None]) -> CardError | None:
    """What goes wrong is told to whoever waits, and never ends the clerk."""
    try:
        step()
    except CardError as error:
        return error
    except Exception:
        log.exception("a lease failed unexpectedly")
        return CardError("The card failed in an unexpected way; the journal has the details.")
    return None


class LeaseOffices:
    """The offices of a process, by reader."""

    def __init__(self, times: LeaseTimes = STANDARD) -> None:
        self._times = times
        self._lock = threading.Lock()
        self._offices: dict[str, LeaseOffice] = {}

    def of(self, reader: str) -> LeaseOffice:
        """The one office of that reader."""
        with self._lock:
            return self._offices.setdefault(reader, LeaseOffice(reader, self._times))
