"""What the applets of a CAC card have in common: their names, VERIFY and GET PROPERTIES (GSC-IS 2.1, chapter 5.3)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from virtcard.card.soft.cac_acr import APPLET_INFORMATION
from virtcard.card.soft.cac_objects import CacObject
from virtcard.card.soft.cac_tlv import field
from virtcard.card.soft.cac_token import CacToken
from virtcard.wire import tlv
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw, tries_left

_PAD: Final = b"\xff"


class Ins(IntEnum):
    """The instructions of GSC-IS 2.1's virtual machine cards, chapter 5.3."""

    VERIFY = 0x20
    SIGN_DECRYPT = 0x42
    GET_ACR = 0x4C
    READ_BUFFER = 0x52
    GET_PROPERTIES = 0x56
    UPDATE_BUFFER = 0x58
    SELECT = 0xA4
    GET_DATA = 0xCA


class Named:
    """An applet that is selected by its whole name only: those of a CAC all begin alike."""

    def __init__(self, name: bytes) -> None:
        self.aid = name

    def matches(self, untrusted_aid: bytes) -> bool:
        """Exactly its name."""
        return untrusted_aid == self.aid

    def select(self) -> ResponseApdu:
        """A template with the name and nothing of its own (ISO 7816-4, 7.4.3)."""
        return ResponseApdu(tlv.build(0x6F, tlv.build(0x84, self.aid) + tlv.build(0xA5)))

    def reset(self) -> None:
        """Nothing to forget."""


def verify(token: CacToken, command: CommandApdu) -> ResponseApdu:
    """VERIFY. Without data it asks for the tries that are left. Trailing FF are padding."""
    if command.p1 or command.p2:
        return refuse(Sw.INCORRECT_P1_P2)
    if not command.data:
        return ResponseApdu() if token.verified else ResponseApdu(sw=_standing(token.tries_left))
    if not token.tries_left:
        return refuse(Sw.AUTHENTICATION_BLOCKED)
    outcome = token.verify(command.data.rstrip(_PAD))
    return ResponseApdu() if outcome.ok else ResponseApdu(sw=tries_left(outcome.tries_left))


def _standing(left: int) -> int:
    return tries_left(left) if left else Sw.AUTHENTICATION_BLOCKED


def properties(shown: tuple[CacObject, ...], command: CommandApdu) -> ResponseApdu:
    """GET PROPERTIES (GSC-IS 2.1, 5.3.3.4): all of them, or those with the tags in the data."""
    if command.p1 not in (1, 2) or command.p2:
        return refuse(Sw.INCORRECT_P1_P2)
    told = {0x01: APPLET_INFORMATION, 0x40: field(0x40, bytes((len(shown),)))}
    for tag, has_key in ((0x50, False), (0x51, True)):
        told[tag] = b"".join(field(tag, one.properties()) for one in shown if (one.key is not None) is has_key)
    if command.p1 == 1:
        return ResponseApdu(b"".join(told.values()))
    return ResponseApdu(b"".join(value for tag, value in told.items() if tag in command.data))


def refuse(sw: int) -> ResponseApdu:
    """A status word alone."""
    return ResponseApdu(sw=sw)
