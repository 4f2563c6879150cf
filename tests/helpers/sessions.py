"""Sessions brought to where a test begins, and what they send in readable form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from virtcard.bridge.session import Effect, Send, Session, Timer, Transmit
from virtcard.card.base import Transmission
from virtcard.wire.vscard import (
    UNDEFINED_READER_ID,
    Decoder,
    ErrorCode,
    Init,
    Message,
    MessageType,
    encode,
    encode_error,
)

ACK: Final = encode_error(ErrorCode.SUCCESS)
REFUSAL: Final = encode_error(ErrorCode.GENERAL_ERROR)
INIT: Final = encode(MessageType.INIT, Init().encode(), UNDEFINED_READER_ID)
YUBIKEY_ATR: Final = bytes.fromhex("3BF81300008131FE15597562696B657934D4")
SELECT: Final = bytes.fromhex("00A4040005A000000308")
READ: Final = bytes.fromhex("00B0000000")
OK: Final = b"\x90\x00"


def apdu(command: bytes = READ) -> bytes:
    """QEMU's message with an APDU of the guest."""
    return encode(MessageType.APDU, command)


def sent(effects: Iterable[Effect]) -> list[Message]:
    """The messages that are to be sent."""
    return Decoder().feed(b"".join(effect.data for effect in effects if isinstance(effect, Send)))


def kinds(effects: Iterable[Effect]) -> list[MessageType]:
    """Their types."""
    return [message.type for message in sent(effects)]


def failures(effects: Iterable[Effect]) -> int:
    """How many APDUs are answered with VSC_Error."""
    return kinds(effects).count(MessageType.ERROR)


def ticket(effects: Iterable[Effect]) -> int:
    """The ticket of the one Transmit."""
    (transmit,) = (effect for effect in effects if isinstance(effect, Transmit))
    return transmit.ticket


def settled(heard: bytes = INIT) -> Session:
    """QEMU said `heard`, and no APDU came for a while: ReaderRemove is out."""
    session = Session()
    session.start()
    session.feed(heard)
    session.expired(Timer.QUIET)
    return session


def ready() -> Session:
    """Greeted, empty, and the gap is over."""
    session = settled()
    session.feed(ACK + ACK)
    session.expired(Timer.GAP)
    return session


def inserted(transmission: Transmission = Transmission.T0) -> Session:
    """With a card in."""
    session = ready()
    session.insert(YUBIKEY_ATR, transmission)
    session.feed(ACK)
    return session


def ejecting() -> Session:
    """In the middle of the ceremony."""
    session = inserted()
    session.eject()
    return session


def removing() -> Session:
    """CardRemove is out."""
    session = ejecting()
    session.expired(Timer.QUIET)
    return session
