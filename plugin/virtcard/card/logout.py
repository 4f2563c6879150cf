"""The end of a login that the card itself cannot see: the machine was reset, paused or set back under it."""

from __future__ import annotations

import math
import time

from virtcard.card.base import Card, CardListener, Transmission
from virtcard.card.errand import errand
from virtcard.errors import CardChanged, CardWasReset


class LogoutByReset:
    """A Card around a Card that nobody shares; put a Selection around it.

    After `logout` the next command finds the card reset: it is not sent, and CardWasReset is raised. NotSent for one
    that was asked before the logout, or whose thread was given up.
    """

    def __init__(self, card: Card) -> None:
        self._card = card
        self._due = False
        self._logged_out = -math.inf
        self._atr = b""

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Power the card on, which ends every login."""
        self._due = False
        self._atr = self._card.power_on()
        return self._atr

    def transmit(self, command: bytes) -> bytes:
        """The card's answer; see the class for what else may happen."""
        mine = errand()
        if self._due or mine.given_up:
            mine.check(self._logged_out)
            self._log_out()
        return self._card.transmit(command)

    def reset(self) -> bytes:
        """Reset the card, which ends every login."""
        self._due = False
        self._atr = self._card.reset()
        return self._atr

    def power_off(self) -> None:
        """Let go of the card."""
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        self._card.listen(listener)

    def logout(self) -> None:
        """End the login before the next command. From any thread, and never waits."""
        self._logged_out = time.monotonic()
        self._due = True

    def _log_out(self) -> None:
        self._due = False
        before = self._atr
        try:
            after = self.reset()
        except BaseException:
            self._due = True
            raise
        if after != before:
            raise CardChanged("The card is another one, and is put in anew.")
        raise CardWasReset("The login to the card was ended.", hint="Log in to the card again in the machine.")
