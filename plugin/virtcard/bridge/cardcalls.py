"""What a worker does with cards: each call may block, and may end with the worker being given up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from virtcard import limits
from virtcard.bridge.core import Core
from virtcard.bridge.effects import Timer
from virtcard.bridge.fault import describe
from virtcard.bridge.seat import Slot
from virtcard.bridge.status import BridgeState
from virtcard.errors import CardError

log = logging.getLogger(__name__)

T = TypeVar("T")


class GivenUp(Exception):
    """This worker was stuck inside a card, and another one has taken over."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.slot = slot


class CardCalls:
    """The card's part of one generation of a worker."""

    def __init__(self, core: Core, generation: int) -> None:
        self._core = core
        self._generation = generation

    def leaving(self) -> Callable[[], None] | None:
        """What is to be done with a card that is not in, before anything else happens. The lock is held."""
        seat = self._core.seat
        if (slot := seat.to_retire()) is not None:
            return partial(self._retire, slot)
        if (slot := seat.to_power_off()) is not None:
            return partial(self._power_off, slot)
        return None

    def come_back(self, slot: Slot) -> None:
        """Out of the card; GivenUp when that took too long. The lock is held."""
        core = self._core
        if slot.stuck:
            slot.stuck = False
            core.kick()
        if core.generation != self._generation:
            raise GivenUp(slot)
        core.busy = None

    def coming(self) -> Callable[[], None] | None:
        """What is to be done to get the wanted card in. The lock is held."""
        core = self._core
        if (slot := core.seat.to_hear()) is not None:
            return partial(self._hear, slot)
        if core.state is not BridgeState.EMPTY or core.stopping or (slot := core.seat.to_power_on()) is None:
            return None
        return partial(self._power_on, slot)

    def _inside(self, slot: Slot, call: Callable[[], T]) -> T:
        """Call the card, watched; CardError in place of any other exception."""
        core = self._core
        with core.lock:
            core.enter(slot)
            core.watch.start(core.patience.get(Timer.TRANSMIT, limits.TRANSMIT_PATIENCE))
        try:
            return call()
        except CardError:
            raise
        except Exception as fault:
            raise unexpected(fault) from fault
        finally:
            with core.lock:
                self.come_back(slot)
                core.watch.stop()

    def _hear(self, slot: Slot) -> None:
        slot.heard = True
        try:
            self._inside(slot, lambda: slot.card.listen(partial(self._core.card_event, slot)))
        except CardError as error:
            slot.heard = False
            with self._core.lock:
                self._core.card_failed(slot, error)

    def _power_on(self, slot: Slot) -> None:
        slot.fresh = slot.stale = False
        slot.powered = True
        try:
            atr, transmission = self._inside(slot, lambda: (slot.card.power_on(), slot.card.transmission))
        except CardError as error:
            slot.powered = False
            with self._core.lock:
                self._core.card_failed(slot, error)
            return
        with self._core.lock:
            self._core.seat_card(slot, atr, transmission)

    def _power_off(self, slot: Slot) -> None:
        self._inside(slot, partial(power_off, slot))
        slot.powered = False

    def _retire(self, slot: Slot) -> None:
        self._inside(slot, partial(let_go, slot))
        with self._core.lock:
            self._core.seat.retired(slot)


def power_off(slot: Slot) -> None:
    """`Card.power_off` never raises; one that does has let go of its card all the same."""
    try:
        slot.card.power_off()
    except Exception as fault:  # noqa: BLE001 (it is logged, and the bridge goes on)
        log.error("powering a card off failed: %s", describe(fault))


def let_go(slot: Slot) -> None:
    """Listen to it no more, and power it off."""
    try:
        slot.card.listen(None)
    except Exception as fault:  # noqa: BLE001 (it is logged, and the card is powered off all the same)
        log.error("leaving a card alone failed: %s", describe(fault))
    power_off(slot)


def unexpected(fault: Exception) -> CardError:
    """What a card raised that is not a CardError: for the journal, and as a public sentence."""
    log.error("a card failed unexpectedly: %s", describe(fault))
    return CardError("The card failed in an unexpected way; the journal has the details.")
