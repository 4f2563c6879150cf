"""A shared card as one machine has it: alone for as long as its lease lasts, and never with another's login."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from virtcard.card.base import CardListener, SharedCard, Transmission
from virtcard.card.errand import errand
from virtcard.card.lease.office import LeaseOffice
from virtcard.card.lease.rules import SHARED, LeaseRules
from virtcard.card.lease.watch import Watch
from virtcard.errors import Busy, CardAbsent, CardChanged, CardError, CardWasReset, ReaderGone

log = logging.getLogger(__name__)

BEGIN_TRIES = 4
"""Times that other programs may reset the card while we take it."""


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
        """Whoever has it may use the card, when the lease is ours: the bridge's thread, or the clerk to end it."""
        self._watch = Watch()
        self._held = False
        self._alone = False
        self._due = False
        """The clerk wants the lease back: look whether it is time."""
        self._ending = False
        """The login shall end now."""
        self._kept = False
        """The lease ends when `kept` does."""
        self._untold: CardWasReset | None = None
        """What the next command is to hear of this lease, which was taken for another purpose."""
        self._logged_out = -math.inf
        """When a login was ended last: older commands are not sent any more."""
        self._powered = False
        self._fresh = False
        """The guest has had no command answered since the card was powered on."""
        self._lost_login = False
        self._was_reset = False
        """Somebody else reset the card before this lease."""
        self._spoilt = False
        """It could not be reset, and is off."""
        self._begun = self._used = 0.0
        self._atr = b""
        self._changes = 0

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
            if self._due or not self._held:
                self._take()
            mine = errand()
            if mine.given_up:
                mine.check()
            try:
                response = self._card.transmit(command)
            except BaseException as error:
                self._failed(command, error)
                raise
            self._watch.note(command, response)
            self._used = time.monotonic()
            return response

    def reset(self) -> bytes:
        """Reset the card and return its ATR."""
        return self.power_on()

    def power_off(self) -> None:
        """Let go of the card: reset when this machine has the lease, and as it is when it gave it up before."""
        with self._lock:
            if self._held:
                self._account()
                try:
                    self._card.power_off()
                finally:
                    self._office.release(self)
            elif self._powered:
                self._office.later(self._card.leave)
            self._powered = False
            self._office.leave(self)

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        self._card.listen(listener)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Take the lease, and keep it for a few commands that belong together: nobody else comes in between.

        CardError when it cannot be had. What the first command would hear of it, it hears."""
        with self._lock:
            try:
                # One who keeps it again and again is faster than the clerk.
                if self._due or not self._held or self._is_due():
                    self._take()
            except CardWasReset as error:
                self._tell_later(error)
            self._kept = True
        try:
            yield
        finally:
            self._kept = False
            self._office.poke()

    def logout(self) -> None:
        """End the login now: the lease is given up, with a reset, as soon as the card is done with its command. A
        command that waits for the lease is not sent."""
        self._logged_out = time.monotonic()
        if self._held:
            self._ending = self._due = True
        self._office.poke()

    # The lease.

    def due(self) -> float:
        """When the lease ends by itself."""
        if not self._held or self._alone or self._kept:
            return math.inf
        if self._ending:
            return 0.0
        times, watch = self._office.times, self._watch
        if watch.open:
            return min(self._used + times.idle_logged_in, self._begun + times.longest)
        if watch.login:
            return min(self._used + times.idle_logged_in, self._begun + times.last_call)
        longest = times.idle if self._office.waiting else times.last_call
        return min(self._used + times.idle, self._begun + longest)

    def expire(self) -> bool:
        """End the lease if it is due. False when the card is at work: then the next command ends it, or the next look.

        The clerk must not wait for our lock here: whoever has it may wait for the clerk.
        """
        self._due = True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._is_due():
                self._give_up()
            self._not_due()
        finally:
            self._lock.release()
        return True

    def _is_due(self) -> bool:
        return self.due() <= time.monotonic()

    def _not_due(self) -> None:
        """It was looked at. A logout is looked at again, and so is what the next command must hear."""
        self._due = self._ending or self._untold is not None

    def _join(self, exclusive: bool) -> None:
        try:
            self._office.join(self, exclusive=exclusive)
        except Busy as error:
            raise CardError(error.message, hint=error.hint) from None
        if exclusive:
            log.warning("the card in %s is for one machine alone; a session that logged in by it may lock", self.reader)

    def _arrive(self, exclusive: bool) -> None:
        """The card is ours, and new."""
        self._powered = self._fresh = True
        self._lost_login = self._spoilt = False
        self._untold = None
        self._changes = self._office.changes
        self._office.last = self
        if exclusive:
            self._hold()
            self._alone = True

    def _hold(self) -> None:
        self._watch = Watch()
        self._due = self._ending = False
        self._begun = self._used = time.monotonic()
        self._held = True
        self._office.poke()

    def _take(self) -> None:
        """The lease is ours afterwards, and the card as the guest left it."""
        self._check()
        if self._untold is not None:
            error, self._untold = self._untold, None
            self._not_due()
            raise error
        if self._spoilt:
            raise CardChanged("The card could not be reset, and is put in anew.")
        if self._held:
            if self._alone:
                self._begin_anew()
            self._not_due()
            if not self._is_due():
                return
            self._give_up()
        self._office.take(self, self._begin, self._undo, self._check)
        self._hold()
        try:
            self._look()
        except CardChanged:
            self._fresh = False
            self._give_up()
            raise
        except CardWasReset as error:
            self._fresh = False
            self._tell_later(error)
            self._check()
            self._untold, self._due = None, self._ending
            raise
        except BaseException:
            self._give_up()
            raise
        self._fresh = False
        self._check()

    def _check(self) -> None:
        errand().check(self._logged_out)

    def _tell_later(self, error: CardWasReset) -> None:
        self._untold, self._due = error, True

    def _begin_anew(self) -> None:
        if self._ending:
            self._due = self._ending = False
            self._card.reset()
            self._watch.was_reset()
            raise CardWasReset("The login to the card was ended.", hint="Log in to the card again in the machine.")

    def _begin(self) -> None:
        """On the clerk's thread. Whoever had the card before may have reset it."""
        self._was_reset = False
        for _ in range(BEGIN_TRIES - 1):
            try:
                self._card.begin()
            except CardWasReset:
                self._was_reset = True
            else:
                return
        self._card.begin()

    def _undo(self) -> None:
        """On the clerk's thread."""
        self._card.end(reset=False)

    def _look(self) -> None:
        """Make sure that nobody else's login is on the card; CardWasReset or CardChanged when the guest's is gone."""
        office = self._office
        others = office.last is not self
        office.last = self
        atr = self._atr if self._rules.host_login and not others and self._powered else self._card.reset()
        lost = others or self._was_reset or self._lost_login
        if (lost and self._rules.reinsert and not self._fresh) or atr != self._atr or office.changes != self._changes:
            raise CardChanged("The card was used elsewhere, and is put in anew.")
        if not self._fresh:
            raise CardWasReset("The card was used elsewhere.", hint="Log in to the card again in the machine.")

    def _failed(self, command: bytes, error: BaseException) -> None:
        """A command has no answer. A card that is gone has no transaction to end."""
        if isinstance(error, CardWasReset):
            self._watch.was_reset()
            return
        self._watch.unanswered(command)
        if isinstance(error, CardAbsent | ReaderGone):
            self._account()
            self._office.release(self)

    def _give_up(self) -> None:
        """End the lease, and the login with it. A card that cannot be reset is not left to the next one."""
        if not self._held:
            return
        alone, login = self._alone, self._watch.login or self._ending
        self._account()
        if alone:
            return
        self._lost_login = login
        try:
            self._end(reset=login)
        finally:
            self._office.release(self)

    def _end(self, *, reset: bool) -> None:
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

    def _spoil(self) -> None:
        self._spoilt = True
        self._card.power_off()

    def _account(self) -> None:
        """The lease is no more; the next one tells by itself what was lost."""
        self._held = self._alone = self._due = self._ending = False
        self._untold = None
        if self._watch.changed:
            self._office.changes += 1
            self._changes = self._office.changes


def _nothing() -> None:
    pass
