"""`vpicc:PORT`: whoever calls on this port of the loopback device is the card."""

from __future__ import annotations

from virtcard.card.base import Surroundings
from virtcard.errors import InvalidArgument
from virtcard_vpicc.card import VpiccCard

PORT_MAX = 65_535


class VpiccSource:
    """The `vpicc` scheme."""

    def __init__(self, surroundings: Surroundings) -> None:
        """System and session are alike for it, and host readers no matter."""

    def open(self, rest: str) -> VpiccCard:
        """The card that calls on port `rest`, now or later; Busy when somebody else listens there."""
        return VpiccCard(_port(rest))


def _port(untrusted: str) -> int:
    if not (untrusted.isascii() and untrusted.isdigit() and 0 < int(untrusted[:6]) <= PORT_MAX):
        raise InvalidArgument(f"'{untrusted[:32]}' is not a port.", hint="Write vpicc:35963, for example.")
    return int(untrusted)
