"""What the PIV applet remembers between two commands, and the numbers that all of its parts use."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from virtcard.card.soft.model import Algorithm, KeyRecord, PinPolicy
from virtcard.card.soft.pins import Pins
from virtcard.card.soft.store import OpenCard
from virtcard.wire.apdu import ResponseApdu


class KeyReference(IntEnum):
    """P2 of most commands (SP 800-73-4 part 1, table 4b), without the retired keys."""

    GLOBAL_PIN = 0x00
    PIN = 0x80
    PUK = 0x81
    AUTHENTICATION = 0x9A
    MANAGEMENT = 0x9B
    SIGNATURE = 0x9C
    KEY_MANAGEMENT = 0x9D
    CARD_AUTHENTICATION = 0x9E


RETIRED: Final = range(0x82, 0x96)
"""Retired key management keys 1 to 20."""

KEY_SLOTS: Final = (
    KeyReference.AUTHENTICATION,
    KeyReference.SIGNATURE,
    KeyReference.KEY_MANAGEMENT,
    KeyReference.CARD_AUTHENTICATION,
    *RETIRED,
)
"""Where a private key can be."""

ALGORITHMS: Final = {
    0x05: Algorithm.RSA3072,
    0x07: Algorithm.RSA2048,
    0x11: Algorithm.P256,
    0x14: Algorithm.P384,
    0x16: Algorithm.RSA4096,
}
"""Algorithm identifiers: SP 800-78-4, table 6-2; RSA 3072 is of SP 800-78-5, RSA 4096 is Yubico's number."""

NUMBERS: Final = {algorithm: number for number, algorithm in ALGORITHMS.items()}


def default_policy(slot: int) -> PinPolicy:
    """What a key in that slot wants (SP 800-73-4 part 1, table 4b)."""
    match slot:
        case KeyReference.SIGNATURE:
            return PinPolicy.ALWAYS
        case KeyReference.CARD_AUTHENTICATION:
            return PinPolicy.NEVER
        case _:
            return PinPolicy.ONCE


def refuse(sw: int) -> ResponseApdu:
    """A status word alone."""
    return ResponseApdu(sw=sw)


@dataclass(slots=True)
class Session:
    """The security status of the applet. All of it is gone with a reset."""

    card: OpenCard = field(repr=False)
    pins: Pins = field(repr=False)
    is_administrator: bool = False
    """The management key was shown."""
    was_just_verified: bool = False
    """The command before this one was a VERIFY, and the PIN was right."""
    verified_now: bool = False
    """This command is such a VERIFY."""
    challenge: bytes | None = field(default=None, repr=False)
    """What EXTERNAL AUTHENTICATE has to bring encrypted, until the next GENERAL AUTHENTICATE."""
    witness: bytes | None = field(default=None, repr=False)
    """What MUTUAL AUTHENTICATE has to bring decrypted, until the next GENERAL AUTHENTICATE."""

    def next_command(self) -> None:
        """A command begins."""
        self.was_just_verified, self.verified_now = self.verified_now, False

    def reset(self) -> None:
        """Nobody has shown anything."""
        self.is_administrator = self.was_just_verified = self.verified_now = False
        self.challenge = self.witness = None
        self.pins.logout()

    def may_use(self, key: KeyRecord) -> bool:
        """The PIN was given as the key wants it: with "always" it is the command right before."""
        match key.pin_policy:
            case PinPolicy.NEVER:
                return True
            case PinPolicy.ONCE:
                return self.pins.verified
            case PinPolicy.ALWAYS:
                return self.pins.verified and self.was_just_verified
