"""After a reset, by somebody else or between two leases: what the guest had selected is selected again, unseen by it.

The login state is gone, and that must show: PIN-protected commands answer 6982, which guests' software handles by
asking for the PIN again. A card without its selection would answer 6D00 or 6A82 instead, which nobody handles.
"""

from __future__ import annotations

from typing import Final

from virtcard.card.base import Card, CardListener, Transmission
from virtcard.errors import CardAbsent, CardChanged, CardError, CardWasReset, NotSent, ReaderGone
from virtcard.wire.apdu import (
    HEADER_BYTES,
    MORE_DATA,
    Sw,
    channel,
    is_chained,
    is_proprietary,
    is_secured,
    parse_body,
)
from virtcard.wire.malformed import Malformed

PATH_MAX: Final = 16
"""SELECTs that are remembered as one path; a deeper one is not replayed."""

_SELECT: Final = 0xA4
_GET_RESPONSE: Final = 0xC0
_MANAGE_SECURITY_ENVIRONMENT: Final = 0x22
_NEEDS_ENVIRONMENT: Final = frozenset({0x2A, 0x82, 0x86, 0x87, 0x88})
"""PERFORM SECURITY OPERATION and the AUTHENTICATE commands: they use the key that MANAGE SECURITY ENVIRONMENT set
(ISO 7816-4, 11.5.11), and after a reset might use another one."""

_BY_NAME: Final = 0x04
_FROM_MASTER_FILE: Final = 0x08
_CHILD_FILE: Final = 0x02
_NEXT: Final = 0x02
_MASTER_FILE: Final = b"\x3f\x00"

_DONE: Final = Sw.OK.to_bytes(2, "big")
_DONE_CLASSES: Final = frozenset({b"\x90", b"\x91", b"\x9f", bytes((MORE_DATA,)), b"\x62", b"\x63"})
_LOST: Final = Sw.CONDITIONS_NOT_SATISFIED.to_bytes(2, "big")
"""ISO 7816-4, table 6: conditions of use not satisfied, which sends the guest back to the start of what it did. 6883
(last command of the chain expected) would invite it to send only the rest."""


class Selection:
    """A Card around a Card. Only the basic channel is followed: a reset closes the others (ISO 7816-4, 5.4.2)."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self._path: list[bytes] | None = []
        self._chain = b""
        self._environment = False

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Power on, with nothing selected."""
        self._forget()
        return self._card.power_on()

    def reset(self) -> bytes:
        """Reset, with nothing selected."""
        self._forget()
        return self._card.reset()

    def power_off(self) -> None:
        """Let go of the card."""
        self._forget()
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        self._card.listen(listener)

    def transmit(self, command: bytes) -> bytes:
        """Send a command. When the card was reset: the selection first, and then the command, which it never saw.

        CardWasReset when the selection cannot be brought back, or that would not do. A command that continues
        something lost answers 6985.
        """
        try:
            response = self._card.transmit(command)
        except CardChanged:
            raise
        except CardWasReset:
            response = self._again(command)
        self._note(command, response)
        return response

    def _again(self, command: bytes) -> bytes:
        continues = self._continues(command)
        self._chain, self._environment = b"", False
        response = self._card.transmit(command) if _begins_path(command) and not continues else b""
        if not _selected(response):
            self._replay()  # also after a SELECT that failed, which leaves selected what was (ISO 7816-4, 11.2.2)
        return response or (_LOST if continues else self._card.transmit(command))

    def _continues(self, command: bytes) -> bool:
        """It means nothing without what came before the reset."""
        instruction = command[1]
        return (
            bool(self._chain and self._chain == _chain_of(command))
            or instruction == _GET_RESPONSE
            or bool(channel(command[0]))
            or is_secured(command[0])
            or (self._environment and instruction in _NEEDS_ENVIRONMENT)
        )

    def _replay(self) -> None:
        path, self._path = self._path, None
        try:
            done = path is not None and all(_selected(self._card.transmit(select)) for select in path)
        except NotSent:
            self._path = path  # the card is reset once more before its next command
            raise
        except (CardWasReset, CardAbsent, ReaderGone):
            raise
        except CardError as error:
            raise _lost_selection() from error  # or the next command would meet another application than the guest's
        if not done:
            raise _lost_selection()
        self._path = path

    def _note(self, command: bytes, response: bytes) -> None:
        cla, instruction = command[:2]
        self._chain = _chain_of(command) if is_chained(cla) and response[-2:] == _DONE else b""
        if channel(cla) or not _selected(response):
            return
        if instruction == _MANAGE_SECURITY_ENVIRONMENT:
            self._environment = True
        elif instruction == _SELECT:
            self._follow(command)

    def _follow(self, select: bytes) -> None:
        self._environment = False
        if is_proprietary(select[0]):
            self._path = None
        elif _begins_path(select):
            self._path = [select]
        elif self._path is not None:
            if self._path and select[2] == self._path[-1][2] == _CHILD_FILE:
                self._path.pop()
            self._path.append(select)
            if len(self._path) > PATH_MAX:
                self._path = None

    def _forget(self) -> None:
        self._path, self._chain, self._environment = [], b"", False


def _lost_selection() -> CardWasReset:
    return CardWasReset("The card was reset, and its application could not be selected again.")


def _begins_path(command: bytes) -> bool:
    """A SELECT that does not depend on what is selected (ISO 7816-4, 11.2.2): by name, from the MF, or the MF."""
    cla, instruction, p1, p2 = command[:HEADER_BYTES]
    if instruction != _SELECT or channel(cla) or is_proprietary(cla) or is_chained(cla):
        return False
    if p1 == _BY_NAME:
        return not p2 & _NEXT
    return p1 == _FROM_MASTER_FILE or (p1 == 0 and _names_master_file(command))


def _names_master_file(select: bytes) -> bool:
    """By no data, or by its name."""
    try:
        data, _, _ = parse_body(select[HEADER_BYTES:])
    except Malformed:
        return False
    return data in (b"", _MASTER_FILE)


def _chain_of(command: bytes) -> bytes:
    """What the commands of one chain have in common: INS, P1 and P2 (ISO 7816-4, 5.3.3)."""
    return command[1:HEADER_BYTES]


def _selected(response: bytes) -> bool:
    """9000, 61xx or a warning (GSM 11.11 says 91xx and 9Fxx too): it was done."""
    return response[-2:-1] in _DONE_CLASSES
