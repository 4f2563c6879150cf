"""Which slots a type of card has, what their keys are for, and where their certificates lie."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from virtcard.card.soft import piv_objects
from virtcard.card.soft.model import Algorithm, CardData, CardType, PinPolicy
from virtcard.card.soft.piv_session import RETIRED
from virtcard.errors import InvalidArgument, Unsupported
from virtcard.wire.malformed import Malformed
from virtcard.wire.tlv import find


class Purpose(StrEnum):
    """What a key is for; its certificate says so."""

    AUTHENTICATION = "authentication"
    SIGNATURE = "signature"
    KEY_MANAGEMENT = "key management"
    CARD_AUTHENTICATION = "card authentication"


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a key. `tag` is the object with its certificate; `name` is what people write."""

    number: int
    name: str
    purpose: Purpose
    pin_policy: PinPolicy
    tag: str


@dataclass(frozen=True, slots=True)
class SecretRule:
    """The form of a PIN or PUK, without padding."""

    what: str
    minimum: int
    maximum: int
    digits: bool

    def check(self, untrusted: bytes) -> bytes:
        """The secret; InvalidArgument, which does not show it, when it has another form."""
        if not self.minimum <= len(untrusted) <= self.maximum or not self._fits(untrusted):
            kind = "digits" if self.digits else "characters"
            length = f"{self.minimum} to {self.maximum}" if self.minimum < self.maximum else f"{self.minimum}"
            raise InvalidArgument(f"The {self.what} of this card has {length} {kind}.")
        return untrusted

    def _fits(self, untrusted: bytes) -> bool:
        # FF is the padding (SP 800-73-4 part 2, 2.4.3), so that no secret may end in it.
        return untrusted.isdigit() if self.digits else b"\xff" not in untrusted


@dataclass(frozen=True, slots=True)
class Layout:
    """A type of card: its slots get keys when a card is made; more can be filled by import."""

    type: CardType
    slots: tuple[Slot, ...]
    more: tuple[Slot, ...]
    algorithms: frozenset[Algorithm]
    pin: SecretRule
    puk: SecretRule
    management: tuple[int, int] | None
    """Algorithm (PIV's number) and bytes of the management key."""
    wrap: Callable[[bytes], bytes]
    """A certificate in DER -> the object that holds it."""
    unwrap: Callable[[bytes], bytes | None]
    """And back."""
    objects: Callable[[], Mapping[str, bytes]]
    """The other objects of a new card."""

    def certificate(self, data: CardData, slot: Slot) -> bytes | None:
        """The certificate in that slot of that card, in DER."""
        value = data.objects.get(slot.tag)
        return self.unwrap(value) if value else None

    def slot(self, untrusted_name: str) -> Slot:
        """The slot of that name; InvalidArgument when there is none."""
        for slot in self.slots + self.more:
            if slot.name == untrusted_name.casefold():
                return slot
        known = ", ".join(slot.name for slot in self.slots)
        raise InvalidArgument(f"A {self.type.upper()} card has no such slot.", hint=f"Its slots are {known}.")

    def check_algorithm(self, algorithm: Algorithm) -> None:
        """Unsupported for a kind of key that this type of card does not hold."""
        if algorithm not in self.algorithms:
            known = ", ".join(sorted(self.algorithms))
            raise Unsupported(f"A {self.type.upper()} card holds no {algorithm} key.", hint=f"It holds {known}.")


def _piv_certificate(value: bytes) -> bytes | None:
    """From a certificate object (SP 800-73-4 part 1, table 10); None when a guest wrote something else there."""
    try:
        der, info = find(value, 0x70), find(value, 0x71)
        return _unpacked(der) if der and info == _GZIP else der
    except (Malformed, zlib.error):
        return None


def _unpacked(untrusted: bytes) -> bytes:
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(untrusted, CERTIFICATE_MAX)


_GZIP: Final = b"\x01"
CERTIFICATE_MAX: Final = 64 * 1024
"""Bytes of a certificate that was compressed: no bomb."""

PIV_AES192: Final = 0x0A
"""SP 800-78-4, table 6-2; what the newest YubiKeys have as their management key."""

PIV: Final = Layout(
    type=CardType.PIV,
    # SP 800-73-4 part 1, tables 2 and 4b; PIN policies: its table 3 ("PIN always" for digital signatures).
    slots=(
        Slot(0x9A, "9a", Purpose.AUTHENTICATION, PinPolicy.ONCE, "5FC105"),
        Slot(0x9C, "9c", Purpose.SIGNATURE, PinPolicy.ALWAYS, "5FC10A"),
        Slot(0x9D, "9d", Purpose.KEY_MANAGEMENT, PinPolicy.ONCE, "5FC10B"),
        Slot(0x9E, "9e", Purpose.CARD_AUTHENTICATION, PinPolicy.NEVER, "5FC101"),
    ),
    more=tuple(
        Slot(number, f"{number:02x}", Purpose.KEY_MANAGEMENT, PinPolicy.ONCE, piv_objects.certificate_name(number))
        for number in RETIRED
    ),
    algorithms=frozenset(Algorithm),
    pin=SecretRule("PIN", 6, 8, digits=True),
    puk=SecretRule("PUK", 8, 8, digits=False),
    management=(PIV_AES192, 24),
    wrap=piv_objects.certificate_object,
    unwrap=_piv_certificate,
    objects=piv_objects.first_objects,
)

CAC: Final = Layout(
    type=CardType.CAC,
    # The three certificates of QEMU's smart card chapter, in its order.
    slots=(
        Slot(0, "id", Purpose.AUTHENTICATION, PinPolicy.ONCE, "0100"),
        Slot(1, "signing", Purpose.SIGNATURE, PinPolicy.ONCE, "0101"),
        Slot(2, "encryption", Purpose.KEY_MANAGEMENT, PinPolicy.ONCE, "0102"),
    ),
    # libcacard has room for ten.
    more=tuple(
        Slot(number, str(number), Purpose.AUTHENTICATION, PinPolicy.ONCE, f"{0x0100 + number:04X}")
        for number in range(3, 10)
    ),
    algorithms=frozenset({Algorithm.RSA2048, Algorithm.RSA3072, Algorithm.RSA4096}),
    pin=SecretRule("PIN", 4, 8, digits=True),
    puk=SecretRule("PUK", 8, 8, digits=False),
    management=None,
    wrap=bytes,
    unwrap=bytes,
    objects=dict,
)

LAYOUTS: Final = {layout.type: layout for layout in (PIV, CAC)}
