"""Calls into a card that must not fail, whatever the card does."""

from __future__ import annotations

import logging

from virtcard.bridge.fault import describe
from virtcard.bridge.seat import Slot
from virtcard.errors import CardError

log = logging.getLogger(__name__)


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
