"""What a CAC card shows and uses: certificates, their keys, and one PIN. The token knows where they are."""

from __future__ import annotations

from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from virtcard.card.soft.pins import Outcome, Pins
from virtcard.card.soft.store import OpenCard
from virtcard.errors import Failed

CERTIFICATES_MAX: Final = 10
"""PKI applets A0000000790100 to 0109, as libcacard's guests know them."""

FIRST_OBJECT: Final = 0x0100
"""The object with the first certificate; the number of a key is the distance from here."""


class CacToken(Protocol):
    """Certificates by the number of their applet, and the keys behind one PIN."""

    @property
    def identity(self) -> bytes:
        """At least ten bytes that no other card has."""

    @property
    def certificates(self) -> dict[int, bytes]:
        """Number (0 to 9) -> certificate in DER."""

    @property
    def verified(self) -> bool:
        """The keys may be used now."""

    @property
    def tries_left(self) -> int:
        """0 is blocked."""

    def verify(self, untrusted_pin: bytes) -> Outcome:
        """Log in. A wrong PIN costs a try and logs out."""

    def key(self, number: int) -> RSAPrivateKey | None:
        """The key of that certificate, while verified; None when there is none."""

    def logout(self) -> None:
        """Forget the login."""


class StoredToken:
    """A card in the store: keys in the slots 0 to 9, certificates in the objects 0100 to 0109."""

    def __init__(self, card: OpenCard, pins: Pins) -> None:
        self._card = card
        self._pins = pins
        self.verify = pins.verify_pin
        self.logout = pins.logout

    @property
    def identity(self) -> bytes:
        """What the store knows the card by."""
        return self._card.data.identity

    @property
    def certificates(self) -> dict[int, bytes]:
        """Those that are there."""
        objects = self._card.data.objects
        tags = {number: f"{FIRST_OBJECT + number:04X}" for number in range(CERTIFICATES_MAX)}
        return {number: objects[tag] for number, tag in tags.items() if tag in objects}

    @property
    def verified(self) -> bool:
        """The PIN was right, and nobody logged out since."""
        return self._pins.verified

    @property
    def tries_left(self) -> int:
        """0 is blocked."""
        return self._pins.pin_tries_left

    def key(self, number: int) -> RSAPrivateKey | None:
        """The key in that slot."""
        record = self._card.data.key(number)
        if record is None:
            return None
        key = self._pins.unsealed(record)
        if not isinstance(key, RSAPrivateKey):
            raise Failed("A CAC card holds RSA keys only.")
        return key
