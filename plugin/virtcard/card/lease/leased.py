"""A shared card as one machine has it: alone for as long as its lease lasts, and never with another's login.

How the machine stands with the card is one of the states in `states`. Three threads come here:

- The bridge's calls the card, and has `_lock` for each call. Under it alone the state changes and the card is used.
- The office's clerk ends a lease that is over, under the same lock. It does not wait for it: the bridge's thread may
  have it and wait for the clerk.
- Whoever calls `logout` takes no lock. It leaves the time, asks for a look, and wakes the clerk.

`_look` is what they have in common: a command goes straight to the card without it, and with it only after `_prepare`,
which takes it back first and then looks, so that nothing that comes meanwhile is overlooked. Anybody may set it.
What the clerk reads without the lock, for `due`, may be old: `poke` follows what makes a lease end sooner, and `expire`
looks once more.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from virtcard.card.base import CardListener, SharedCard, Transmission
from virtcard.card.errand import errand
from virtcard.card.lease.lease import Lease
from virtcard.card.lease.office import LeaseOffice
from virtcard.card.lease.rules import SHARED, LeaseRules
from virtcard.card.lease.states import FRESH_WANTED, HOLDING, TRANSITIONS, LeaseEvent, LeaseState
from virtcard.errors import Busy, CardAbsent, CardChanged, CardError, CardWasReset, ReaderGone

log = logging.getLogger(__name__)


class Leased:
    """A Card around a SharedCard; put a Selection around it.

    The first command takes the lease, and the office's clerk ends it by time. When the guest's state on the card was
    lost since its last command, the command is not sent but answered by CardWasReset, with the lease in hand for the
    replay; CardChanged when only a fresh card will do. NotSent when its thread was given up, or the machine's login was
    ended, while it waited. `exclusive` is one lease from `power_on` to `power_off`.
    """

    def __init__(self, card: SharedCard, office: LeaseOffice, rules: LeaseRules = SHARED) -> None:
        self.reader = card.reader
        self._card = card
        self._office = office
        self._rules = rules
        self._lock = threading.Lock()
        self._state = LeaseState.OFF
        self._look = True
        """Something is to be looked at before the next command."""
        self._lease = Lease(card)
        """The one that is ours, or the last one."""
        self._kept = False
        """It does not end before `kept` does."""
        self._logout = -math.inf
        """When a login was ended last: it ends the lease of then, and older commands are not sent any more."""
        self._atr = b""
        self._changes = 0
        """How often the card had been changed by one of ours when the guest got it; see `LeaseOffice.changes`."""

    def __repr__(self) -> str:
        return f"Leased({self.reader!r})"

    @property
    def rules(self) -> LeaseRules:
        """How this machine has the card."""
        return self._rules

    def agree(self, rules: LeaseRules, instead_of: object = None) -> None:
        """Have it by these rules from the next `power_on` on; Busy when those who have the card now leave no room.

        `instead_of` is the card that the same machine lets go for this one.
        """
        self._office.check(self, exclusive=rules.exclusive, instead_of=instead_of)
        self._rules = rules

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Wait for a turn, take the card, reset it and return its ATR; CardError when others do not let us."""
        with self._lock:
            self._give_up()
            exclusive = self._rules.exclusive
            self._join(exclusive)
            try:
                self._office.take(self, _nothing, _nothing, errand().check)
                self._atr = self._card.power_on(exclusive=exclusive)
                self._arrive(exclusive)
            except BaseException:
                self._office.leave(self)
                raise
            finally:
                self._office.release(self)
            return self._atr

    def transmit(self, command: bytes) -> bytes:
        """Send a command when we have the lease; see the class for what else may happen."""
        with self._lock:
            if self._look:
                self._prepare()
                self._tell()
            mine = errand()
            if mine.given_up:
                mine.check()
            try:
                response = self._card.transmit(command)
            except BaseException as error:
                self._failed(command, error)
                raise
            lease = self._lease
            lease.watch.note(command, response)
            lease.used = time.monotonic()
            return response

    def reset(self) -> bytes:
        """Reset the card and return its ATR."""
        return self.power_on()

    def power_off(self) -> None:
        """Let go of the card: reset when this machine has the lease, and as it is when it gave it up before."""
        with self._lock:
            if self._state in HOLDING:
                self._account()
                try:
                    self._card.power_off()
                finally:
                    self._office.release(self)
            elif self._state is not LeaseState.OFF:
                self._office.later(self._card.leave)
            self._step(LeaseEvent.POWERED_OFF)
            self._office.leave(self)

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        self._card.listen(listener)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Take the lease, and keep it for a few commands that belong together: nobody else comes in between.

        CardError when it cannot be had. What the first command would hear of it, it hears."""
        with self._lock:
            # One who keeps it again and again is faster than the clerk.
            if self._look or self._is_over():
                self._prepare()
            self._kept = True
        try:
            yield
        finally:
            self._kept = False
            self._office.poke()

    def logout(self) -> None:
        """End the login now: the lease is given up, with a reset, as soon as the card is done with its command. A
        command that waits for the lease is not sent."""
        self._logout = time.monotonic()
        self._look = True
        self._office.poke()

    # What the clerk asks and does.

    def due(self) -> float:
        """When the lease ends by itself."""
        if self._state not in HOLDING or self._kept:
            return math.inf
        return self._lease.over(self._office.times, self._logout, waited_for=self._office.waiting)

    def expire(self) -> bool:
        """End the lease if it is over. False when the card is at work: then the next command ends it, or the clerk."""
        self._look = True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._is_over():
                self._give_up()
        finally:
            self._lock.release()
        return True

    # From here on the lock is held.

    def _step(self, event: LeaseEvent) -> None:
        self._state = TRANSITIONS[self._state, event]
        if self._state is not LeaseState.HELD:
            self._look = True

    def _prepare(self) -> None:
        """Have the lease, or know why only a fresh card will do; CardError when it cannot be had."""
        self._look = False
        try:
            self._check()
            self._hold()
            self._check()
        finally:
            if self._state is not LeaseState.HELD or self._is_ending():
                self._look = True

    def _tell(self) -> None:
        """What the guest is to hear before its command is sent."""
        if self._state in FRESH_WANTED:
            raise CardChanged(_SENTENCES[self._state])
        if self._state is LeaseState.UNTOLD:
            self._step(LeaseEvent.TOLD)
            what = "The login to the card was ended." if self._lease.alone else "The card was used elsewhere."
            raise CardWasReset(what, hint="Log in to the card again in the machine.")

    def _check(self) -> None:
        errand().check(self._logout)

    def _is_over(self) -> bool:
        return self.due() <= time.monotonic()

    def _is_ending(self) -> bool:
        return self._lease.is_ending(self._logout)

    def _join(self, exclusive: bool) -> None:
        try:
            self._office.join(self, exclusive=exclusive)
        except Busy as error:
            raise CardError(error.message, hint=error.hint) from None
        if exclusive:
            log.warning("the card in %s is for one machine alone; a session that logged in by it may lock", self.reader)

    def _arrive(self, exclusive: bool) -> None:
        """The card is ours, and new."""
        self._step(LeaseEvent.POWERED_ON)
        self._changes = self._office.changes
        self._office.last = self
        if exclusive:
            self._lease = Lease(self._card, alone=True)
            self._lease.start()
            self._step(LeaseEvent.TAKEN)

    def _hold(self) -> None:
        """Go on with the lease, or take a new one in its place when it is over."""
        if self._state in HOLDING and self._lease.alone:
            self._start_over()
            return
        if self._is_over():
            self._give_up()
        if self._state is LeaseState.OFF:
            raise CardAbsent("The card is off.")
        if self._state not in HOLDING | FRESH_WANTED:
            self._take()

    def _start_over(self) -> None:
        """A logout of who has the card alone."""
        if self._is_ending():
            self._card.reset()
            self._lease.start()
            self._step(LeaseEvent.LOST)

    def _take(self) -> None:
        lease = Lease(self._card)
        self._office.take(self, lease.begin, lease.undo, self._check)
        self._lease = lease
        lease.start()
        try:
            found = self._found(lease)
        except BaseException:
            self._end(reset=self._is_ending())
            raise
        self._step(found)
        if self._state in FRESH_WANTED:
            self._end(reset=self._is_ending())
        self._office.poke()

    def _found(self, lease: Lease) -> LeaseEvent:
        """Make sure that nobody else's login is on the card, and see what is left of what the guest had there."""
        office, new = self._office, self._state is LeaseState.NEW
        others = office.last is not self
        atr = self._atr if self._rules.host_login and not others else self._card.reset()
        office.last = self
        lost = others or lease.was_reset or self._state is LeaseState.LOGGED_OUT
        if atr != self._atr or office.changes != self._changes or (lost and self._rules.reinsert and not new):
            return LeaseEvent.CHANGE_SEEN
        return LeaseEvent.TAKEN if new else LeaseEvent.LOST

    def _failed(self, command: bytes, error: BaseException) -> None:
        """A command has no answer. A card that is gone has no transaction to end."""
        watch = self._lease.watch
        if isinstance(error, CardWasReset):
            watch.was_reset()
            return
        watch.unanswered(command)
        if isinstance(error, CardAbsent | ReaderGone):
            self._account()
            self._step(LeaseEvent.GIVEN_UP)
            self._office.release(self)

    def _give_up(self) -> None:
        """End the lease, and the login with it. A card that cannot be reset is not left to the next one."""
        if self._state not in HOLDING:
            return
        login = self._lease.watch.login or self._is_ending()
        self._account()
        self._step(LeaseEvent.GIVEN_UP_LOGIN if login else LeaseEvent.GIVEN_UP)
        if not self._lease.alone:
            self._end(reset=login)

    def _account(self) -> None:
        """What the lease leaves for others, who may have read and kept what it changed."""
        if self._lease.watch.changed:
            self._office.changes += 1
            self._changes = self._office.changes

    def _end(self, *, reset: bool) -> None:
        """End the transaction and the turn."""
        try:
            self._card.end(reset=reset)
        except (CardAbsent, ReaderGone):
            pass
        except CardError as error:
            log.warning("the lease of the card in %s did not end well: %s", self.reader, error.message)
            self._spoil()
        except Exception:
            log.exception("the lease of the card in %s did not end well, and unexpectedly", self.reader)
            self._spoil()
        finally:
            self._office.release(self)

    def _spoil(self) -> None:
        self._step(LeaseEvent.END_FAILED)
        self._card.power_off()


_SENTENCES = {
    LeaseState.CHANGED: "The card was used elsewhere, and is put in anew.",
    LeaseState.SPOILT: "The card could not be reset, and is put in anew.",
}


def _nothing() -> None:
    pass
