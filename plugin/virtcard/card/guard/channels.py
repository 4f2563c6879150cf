"""What is selected on which logical channel (ISO 7816-4, 5.4.2), from what the card answered."""

from __future__ import annotations

from typing import Final

from virtcard.card.guard.applications import Application
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.commands import BY_NAME, Command, Ins
from virtcard.card.guard.profile import Profile
from virtcard.card.guard.table import Selected
from virtcard.wire.apdu import MORE_DATA, Sw

BASIC: Final = 0
_CHANNEL_MAX: Final = 19

_OK: Final = Sw.OK.to_bytes(2, "big")
_SELECTED: Final = frozenset({0x90, MORE_DATA, 0x62, 0x63, 0x9F, 0x91})
"""SW1 of a SELECT that was done: also with a warning, and as GSM 11.11 (9.4.1) says it."""
_WRONG_LE: Final = 0x6C
_OPEN, _CLOSE = 0x00, 0x80
_BY_OBJECT: Final = 0x02


class Channels:
    """The basic channel is always open; another one is when MANAGE CHANNEL opened it, so the card knows channels.

    One that does not would take a SELECT on channel 1 for one on the basic channel.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._selected: dict[int, Selected] = {}
        self._chain = b""
        self.forget()

    @property
    def basic(self) -> Selected:
        """What is selected on the basic channel."""
        return self._selected[BASIC]

    @property
    def chaining(self) -> bool:
        """The card waits for the rest of a chain."""
        return bool(self._chain)

    def select(self, selected: Selected) -> None:
        """A SELECT on the basic channel was done, outside of any chain."""
        self._selected[BASIC] = selected

    def on(self, channel: int) -> Selected | None:
        """What is selected on a channel; None when it is not open."""
        return self._selected.get(channel)

    def forget(self) -> None:
        """The card was reset."""
        self._selected = {BASIC: self._profile.nothing}
        self._chain = b""

    def breaks(self, command: Command) -> bool:
        """A chain is open, and this is no part of it. ISO 7816-4 (5.3.3) has it end the chain; a careless card might
        join the data of both."""
        return bool(self._chain) and _chain_of(command) != self._chain

    def note(self, command: Command, response: bytes) -> None:
        """The card answered."""
        broke = self.breaks(command)
        self._chain = _chain_of(command) if command.cls.chained and response[-2:] == _OK else b""
        if command.ins == Ins.SELECT:
            self._note_select(command, response[-2], careless=broke)
        elif command.ins == Ins.MANAGE_CHANNEL:
            self._note_channel(command, response)

    def lost(self, command: Command) -> None:
        """The card did not answer: nobody knows what it did."""
        if command.ins in (Ins.SELECT, Ins.MANAGE_CHANNEL):
            self._selected[command.cls.channel] = self._profile.anything
        self._chain = b""

    def _note_select(self, command: Command, sw1: int, *, careless: bool) -> None:
        channel = command.cls.channel
        if command.cls.kind is Kind.OTHER or sw1 == _WRONG_LE or (careless and sw1 in _SELECTED):
            self._selected[channel] = self._profile.anything
        elif sw1 not in _SELECTED:
            if command.p1 == BY_NAME:
                self._selected[channel] = self._selected[channel].in_doubt()
        else:
            self._selected[channel] = self._after(command, self._selected[channel])

    def _after(self, command: Command, before: Selected) -> Selected:
        """What a SELECT that was done leaves selected."""
        profile = self._profile
        application = before.application
        if command.p1 == BY_NAME and command.seen is not None:
            return profile.select(command.data)
        if command.p1 == BY_NAME:
            return profile.hidden if application is Application.OTHER else profile.anything
        if application is Application.YUBIKEY_OATH:  # which has CALCULATE ALL with this number
            return before
        if application is Application.CAC and command.p1 == _BY_OBJECT:
            return before
        return profile.nothing if application is Application.OTHER else profile.anything

    def _note_channel(self, command: Command, response: bytes) -> None:
        """A new channel may have anything selected: the default, or what its opener has."""
        if response[-2:] != _OK:
            return
        if command.p1 == _CLOSE:
            number = command.p2 or command.cls.channel
            self._selected.pop(number, None)
        elif command.p1 == _OPEN:
            number = command.p2 or (response[0] if len(response) == 3 else BASIC)
            if 0 < number <= _CHANNEL_MAX:
                self._selected[number] = self._profile.anything
        self._selected.setdefault(BASIC, self._profile.anything)


def _chain_of(command: Command) -> bytes:
    """What the commands of one chain have in common: channel, INS, P1 and P2."""
    return bytes((command.cls.channel,)) + command.header[1:]
