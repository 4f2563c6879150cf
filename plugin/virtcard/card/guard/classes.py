"""The class byte of a command (ISO 7816-4, 5.4.1): whose instructions, on which channel, chained, secured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from virtcard.wire.apdu import CHAIN_BIT, FURTHER_BIT, PROPRIETARY_BIT, channel, is_secured

_GSM: Final = 0xA0
_READER: Final = 0xFF
_RESERVED: Final = 0x20
_SECURED: Final = 0x0C


class Kind(IntEnum):
    """Whose instructions a class has."""

    INTERINDUSTRY = 0
    """00 to 1F and 40 to 7F: ISO 7816-4."""
    PROPRIETARY = 1
    """80 to 9F, with the bits as in 00 to 1F: GlobalPlatform 2.3, 11.1.4, and those that follow it."""
    GSM = 2
    """A0: GSM 11.11, 9.2."""
    READER = 3
    """FF: no card gets it, it is for the reader's driver (PC/SC part 3, 3.2.2)."""
    OTHER = 4
    """All others. Nobody knows what their bits mean."""


@dataclass(frozen=True, slots=True)
class ClassByte:
    """What a class byte says. Of kinds that have no such bits: the basic channel, neither chained nor secured."""

    kind: Kind
    channel: int = 0
    chained: bool = False
    secured: bool = False

    @property
    def plain(self) -> bool:
        """On the basic channel, and nothing special about it."""
        return not (self.channel or self.chained or self.secured)


def _read(cla: int) -> ClassByte:
    chained = bool(cla & CHAIN_BIT)
    if not cla & PROPRIETARY_BIT:
        if not cla & FURTHER_BIT and cla & _RESERVED:
            return ClassByte(Kind.OTHER)
        return ClassByte(Kind.INTERINDUSTRY, channel(cla), chained, is_secured(cla))
    if cla < _GSM:
        return ClassByte(Kind.PROPRIETARY, channel(cla), chained, bool(cla & _SECURED))
    if cla == _GSM:
        return ClassByte(Kind.GSM)
    return ClassByte(Kind.READER if cla == _READER else Kind.OTHER)


CLASSES: Final = tuple(_read(cla) for cla in range(256))
"""By the class byte."""
