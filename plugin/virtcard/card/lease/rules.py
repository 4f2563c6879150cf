"""What a rule says about sharing, and the times of a lease."""

from __future__ import annotations

from dataclasses import dataclass

from virtcard import limits


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """How one machine has its card."""

    exclusive: bool = False
    """`sharing = "exclusive"`: nobody else gets the card while it is in."""
    host_login: bool = False
    """`host-login = "share"`: no reset after the host had the card, so its login serves the machine."""
    reinsert: bool = False
    """`handover = "reinsert"`: out and in again whenever the card's state was lost, in place of a replayed SELECT."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds; the reason of each stands in `limits`."""

    idle: float = limits.LEASE_IDLE
    idle_logged_in: float = limits.LEASE_IDLE_LOGGED_IN
    last_call: float = limits.LEASE_LAST_CALL
    longest: float = limits.LEASE_MAX
    pause: float = limits.LEASE_PAUSE
    patience: float = limits.LEASE_PATIENCE


SHARED = LeaseRules()
STANDARD = LeaseTimes()
