"""Answer to Reset (ISO 7816-3, 8.2): parse, build, and the rewrite for a reader that speaks T=0 only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

from virtcard import limits
from virtcard.wire.malformed import Malformed

DIRECT: Final = 0x3B
INVERSE: Final = 0x3F
HISTORICAL_MAX: Final = 15
"""Bytes: their number is one nibble of T0."""

_TA, _TB, _TC, _TD = 0x10, 0x20, 0x40, 0x80
_WAITING_INTEGER: Final = 1
"""TC2. libccid waits 260 x 960 x WI x 372 / 4000 ms for a T=0 answer: 23 s with 1, and 232 s with the default 10."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One group of interface bytes TAi TBi TCi TDi; None where the card sent none."""

    ta: int | None = None
    tb: int | None = None
    tc: int | None = None
    td: int | None = None

    @property
    def present(self) -> int:
        """The upper nibble (Y) that announces this group."""
        values = ((self.ta, _TA), (self.tb, _TB), (self.tc, _TC), (self.td, _TD))
        return sum(bit for value, bit in values if value is not None)

    def encode(self) -> bytes:
        """The bytes that are there, in their order."""
        return bytes(value for value in (self.ta, self.tb, self.tc, self.td) if value is not None)


@dataclass(frozen=True, slots=True)
class Atr:
    """An ATR in its parts. `interfaces[0]` is TA1 to TD1; TCK is computed."""

    interfaces: tuple[Interface, ...] = (Interface(),)
    historical: bytes = b""
    convention: int = DIRECT

    @property
    def protocols(self) -> tuple[int, ...]:
        """The T values in the card's order (15 stands for global interface bytes); T=0 when it names none."""
        return tuple(group.td & 0x0F for group in self.interfaces if group.td is not None) or (0,)

    @property
    def has_checksum(self) -> bool:
        """A TCK closes the ATR unless T=0 is all that it names (ISO 7816-3, 8.2.5)."""
        return self.protocols != (0,) * len(self.protocols)

    def encode(self) -> bytes:
        """The whole ATR, 2 to 33 bytes; Malformed when its parts do not fit together."""
        _check_parts(self)
        head = bytes((self.convention, self.interfaces[0].present | len(self.historical)))
        body = head + b"".join(group.encode() for group in self.interfaces) + self.historical
        whole = body + bytes((checksum(body),)) if self.has_checksum else body
        if len(whole) > limits.ATR_MAX:
            raise Malformed("an ATR has at most 33 bytes")
        return whole


def checksum(atr: bytes) -> int:
    """TCK: all bytes from T0 on, TCK included, give 0 by exclusive or."""
    return reduce(xor, atr[1:], 0)


def parse(atr: bytes) -> Atr:
    """The parts of an ATR; Malformed when it is cut, too long, or its TCK is wrong."""
    parsed, end = _walk(atr)
    if len(atr) != end + parsed.has_checksum:
        raise Malformed("an ATR is cut short or goes on behind its end")
    if parsed.has_checksum and checksum(atr):
        raise Malformed("the checksum of an ATR is wrong")
    return parsed


def t0_atr(atr: bytes) -> bytes:
    """The ATR that usb-ccid can present for this card: T=0 only, TC2 = 1, the same historical bytes.

    usb-ccid offers T=0 alone, so a guest calls every other card unresponsive. TCK is not looked at: there are cards
    with a wrong one, and the host's pcscd took it. Malformed when even the historical bytes cannot be found.
    """
    parsed, _ = _walk(atr)
    patience = Interface(tc=_WAITING_INTEGER)
    return Atr((Interface(td=patience.present), patience), parsed.historical).encode()


def _walk(atr: bytes) -> tuple[Atr, int]:
    """The parts up to the historical bytes, and where those end."""
    if not 2 <= len(atr) <= limits.ATR_MAX or atr[0] not in (DIRECT, INVERSE):
        raise Malformed("an ATR has 2 to 33 bytes and begins with 3B or 3F")
    interfaces, start = _interfaces(atr)
    end = start + (atr[1] & 0x0F)
    if end > len(atr):
        raise Malformed("an ATR ends inside its historical bytes")
    return Atr(interfaces, atr[start:end], atr[0]), end


def _interfaces(atr: bytes) -> tuple[tuple[Interface, ...], int]:
    groups = []
    present: int | None = atr[1]
    position = 2
    while present is not None:
        values: list[int | None] = []
        for bit in (_TA, _TB, _TC, _TD):
            if not present & bit:
                values.append(None)
                continue
            if position >= len(atr):
                raise Malformed("an ATR ends inside its interface bytes")
            values.append(atr[position])
            position += 1
        groups.append(Interface(*values))
        present = values[-1]
    return tuple(groups), position


def _check_parts(atr: Atr) -> None:
    if atr.convention not in (DIRECT, INVERSE) or len(atr.historical) > HISTORICAL_MAX:
        raise Malformed("an ATR begins with 3B or 3F and has at most 15 historical bytes")
    announced = [group.td for group in atr.interfaces]
    follows = [group.present for group in atr.interfaces[1:]]
    if (
        not announced
        or announced[-1] is not None
        or any(td is None or td & 0xF0 != present for td, present in zip(announced, follows, strict=False))
    ):
        raise Malformed("every TD of an ATR announces the group behind it")
