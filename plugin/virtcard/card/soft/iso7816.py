"""What every software card does whatever its applets are (ISO 7816-4): selection, chaining, answers in parts.

A card speaks T=0 and is asked by whole APDUs. So a command without Le that has an answer gets 61xx (ISO 7816-3,
12.2.1), and one with an extended Le gets it in one piece.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Final, Protocol

from virtcard import limits
from virtcard.card.base import CardListener, Transmission
from virtcard.card.soft.chaining import Answer, Chain
from virtcard.errors import CardAbsent, VirtcardError
from virtcard.wire.apdu import CommandApdu, ResponseApdu, Sw
from virtcard.wire.atr import Atr
from virtcard.wire.malformed import Malformed

log = logging.getLogger(__name__)

HISTORICAL: Final = b"\x80\x58virtcard\x73\xc0\x21\xc0"
"""Compact-TLV (ISO 7816-4, 8.1.1): issuer's data "virtcard", which is no product's name; card capabilities: selection
by full and partial DF name, data units of a byte, command chaining and extended lengths, no logical channels."""

ATR: Final = Atr(historical=HISTORICAL).encode()
"""No interface byte: T=0 alone, with its defaults."""

CHALLENGE_DEFAULT: Final = 8
CHALLENGE_MAX: Final = 256
"""Bytes of an answer to GET CHALLENGE without Le, and the most."""


class Ins(IntEnum):
    """The instructions that the card answers itself, or that need its eye."""

    MANAGE_CHANNEL = 0x70
    GET_CHALLENGE = 0x84
    SELECT = 0xA4
    GET_RESPONSE = 0xC0


BY_NAME: Final = 0x04
"""P1 of SELECT."""
NO_ANSWER: Final = 0x0C
"""P2 of SELECT: no FCI, and with it the two bits that say what kind."""


class Applet(Protocol):
    """An application on the card. Errors of the tree are answered as 6581; nothing else may be raised."""

    def matches(self, untrusted_aid: bytes) -> bool:
        """This is its name, in full or cut short on the right (ISO 7816-4, 8.2.1.2: five bytes at least)."""

    def select(self) -> ResponseApdu:
        """It is the current one from now on; the answer is its template."""

    def command(self, command: CommandApdu) -> ResponseApdu:
        """Answer a command: chained data are joined already, the answer may be of any length."""

    def reset(self) -> None:
        """Power, reset or another applet was selected: forget the PIN and whatever was begun."""


class SoftCard:
    """A `virtcard.card.base.Card` of applets. `close` lets go of what they keep; after `power_off` it is closed."""

    transmission = Transmission.T0

    def __init__(self, applets: Sequence[Applet], atr: bytes, close: Callable[[], None]) -> None:
        self._applets = tuple(applets)
        self._atr = atr
        self._close: Callable[[], None] | None = close
        self._selected: Applet | None = None
        self._chain = Chain()
        self._answer = Answer()

    def power_on(self) -> bytes:
        """Like a reset; CardAbsent after `power_off`."""
        return self.reset()

    def reset(self) -> bytes:
        """Nothing is selected and no PIN verified any more; the ATR. CardAbsent after `power_off`."""
        self._check_open()
        self._forget()
        return self._atr

    def power_off(self) -> None:
        """Forget everything and close; again it does nothing."""
        close, self._close = self._close, None
        if close is not None:
            self._forget()
            close()

    def listen(self, listener: CardListener | None) -> None:
        """A software card comes and goes with its bridge: it reports nothing."""

    def transmit(self, command: bytes) -> bytes:
        """Answer any bytes with a status word at least. CardAbsent after `power_off`."""
        self._check_open()
        return self._respond(command).encode()

    def _check_open(self) -> None:
        if self._close is None:
            raise CardAbsent("The software card was let go.", hint="Insert it again.")

    def _forget(self) -> None:
        self._selected = None
        self._chain.clear()
        self._answer.clear()
        for applet in self._applets:
            applet.reset()

    def _respond(self, untrusted: bytes) -> ResponseApdu:
        command = _understood(untrusted)
        if isinstance(command, CommandApdu):
            return self._obey(command)
        self._chain.clear()
        return ResponseApdu(sw=command)

    def _obey(self, command: CommandApdu) -> ResponseApdu:
        if command.ins == Ins.GET_RESPONSE:
            self._chain.clear()
            return self._answer.more(command)
        self._answer.clear()
        joined = self._chain.add(command)
        if isinstance(joined, ResponseApdu):
            return joined
        return self._answer.give(command, self._execute(joined))

    def _execute(self, command: CommandApdu) -> ResponseApdu:
        try:
            return self._route(command)
        except VirtcardError as error:
            log.error("a software card failed: %s", error.message)
            return ResponseApdu(sw=Sw.MEMORY_FAILURE)

    def _route(self, command: CommandApdu) -> ResponseApdu:
        if command.cla == 0:
            match command.ins:
                case Ins.MANAGE_CHANNEL:
                    return ResponseApdu(sw=Sw.CHANNEL_NOT_SUPPORTED)
                case Ins.GET_CHALLENGE:
                    return challenge(command)
                case Ins.SELECT if command.p1 == BY_NAME:
                    return self._select(command)
        return ResponseApdu(sw=Sw.INS_NOT_SUPPORTED) if self._selected is None else self._selected.command(command)

    def _select(self, command: CommandApdu) -> ResponseApdu:
        """By name. One that fails changes nothing (SP 800-73-4 part 2, 3.1.1)."""
        if command.p2 & ~NO_ANSWER:
            return ResponseApdu(sw=Sw.INCORRECT_P1_P2)
        found = next((applet for applet in self._applets if applet.matches(command.data)), None)
        if found is None:
            return ResponseApdu(sw=Sw.FILE_NOT_FOUND)
        if self._selected is not None and self._selected is not found:
            self._selected.reset()
        self._selected = found
        answer = found.select()
        return replace(answer, data=b"") if command.p2 == NO_ANSWER else answer


def _understood(untrusted: bytes) -> CommandApdu | Sw:
    """The command, or why it is none for a software card."""
    try:
        command = CommandApdu.parse(untrusted)
    except Malformed:
        return Sw.WRONG_LENGTH
    if len(untrusted) > limits.C_APDU_MAX:
        return Sw.WRONG_LENGTH
    return refused_class(command.cla) or command


def refused_class(cla: int) -> Sw | None:
    """Why no command of this class is taken: channels, secure messaging, or no class at all; None for 0X and 8X."""
    proprietary = cla & 0x80
    if cla & 0x60 if proprietary else cla & 0x60 == 0x20:
        return Sw.CLA_NOT_SUPPORTED
    if cla & 0x43:
        return Sw.CHANNEL_NOT_SUPPORTED
    return Sw.SECURE_MESSAGING_NOT_SUPPORTED if cla & 0x0C else None


def challenge(command: CommandApdu) -> ResponseApdu:
    """GET CHALLENGE (ISO 7816-4, 7.5.3): random bytes."""
    if command.p1 or command.p2:
        return ResponseApdu(sw=Sw.INCORRECT_P1_P2)
    if command.data:
        return ResponseApdu(sw=Sw.WRONG_LENGTH)
    return ResponseApdu(os.urandom(min(command.le or CHALLENGE_DEFAULT, CHALLENGE_MAX)))
