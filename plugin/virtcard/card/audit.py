"""Counting what a card is asked. Never what is in the commands: numbers by instruction, and bytes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, Protocol

from virtcard.card.base import Card, CardListener, Transmission
from virtcard.errors import CardError
from virtcard.wire.apdu import HEADER_BYTES
from virtcard.wire.instructions import PIN_INSTRUCTIONS, instruction_name

_WRONG_PIN: Final = b"\x63"
_BLOCKED: Final = b"\x69\x83"


@dataclass(frozen=True, slots=True)
class Counts:
    """What one bridge has carried since it was made."""

    commands: dict[str, int] = field(default_factory=dict)
    """Commands that went to the card, by the name of their instruction; only those that came."""
    refused: int = 0
    """Commands that the guard refused; they are in no other number."""
    pin_failures: int = 0
    """Wrong PINs, and PINs for a reference that is blocked."""
    errors: int = 0
    """Commands to which the card or its reader gave no answer."""
    bytes_sent: int = 0
    """Bytes of commands to the card."""
    bytes_received: int = 0
    """Bytes of answers from it."""
    pin_stops: int = 0
    """PINs that the guard kept from the card, since it has only so many tries left; they are among the refused."""

    def since(self, earlier: Counts) -> Counts:
        """What was added after `earlier`, a moment of the same ledger."""
        added = {name: count - earlier.commands.get(name, 0) for name, count in self.commands.items()}
        return Counts(
            {name: count for name, count in added.items() if count},
            self.refused - earlier.refused,
            self.pin_failures - earlier.pin_failures,
            self.errors - earlier.errors,
            self.bytes_sent - earlier.bytes_sent,
            self.bytes_received - earlier.bytes_received,
            self.pin_stops - earlier.pin_stops,
        )


class Tap(Protocol):
    """Hears what passes between a bridge and its cards, in order, on the bridge's thread. It must not block."""

    def powered(self, atr: bytes) -> None:
        """A card was powered on or reset."""

    def command(self, command: bytes) -> None:
        """A command goes to the card."""

    def response(self, response: bytes) -> None:
        """The answer to it."""

    def failed(self) -> None:
        """There is none."""

    def refused(self, header: bytes, reason: str) -> None:
        """A command with these first bytes was kept from the card."""


class Ledger:
    """The counters of one bridge, whichever card is in it. One thread counts at a time; any thread may read.

    It is an observer of the guard, and where traces tap the bridge."""

    def __init__(self) -> None:
        self.taps: tuple[Tap, ...] = ()
        self._tapping = threading.Lock()
        self._by_instruction: dict[int, int] = {}
        self._pin_stops = self._refused = self._pin_failures = self._errors = self._bytes_sent = (
            self._bytes_received
        ) = 0
        self._counts, self._counted = Counts(), self._numbers()

    def sent(self, command: bytes) -> None:
        """A command goes to the card."""
        instructions = self._by_instruction
        instructions[command[1]] = instructions.get(command[1], 0) + 1
        self._bytes_sent += len(command)

    def answered(self, command: bytes, response: bytes) -> None:
        """The card's answer to it."""
        self._bytes_received += len(response)
        if command[1] in PIN_INSTRUCTIONS and _is_pin_failure(command, response):
            self._pin_failures += 1

    def failed(self) -> None:
        """There is none."""
        self._errors += 1

    def refused(self, header: bytes, reason: str) -> None:
        """The guard kept a command from the card."""
        self._refused += 1
        for tap in self.taps:
            tap.refused(header, reason)

    def pin_stopped(self, tries: int) -> None:  # noqa: ARG002 (how many are left is the guard's affair)
        """The guard kept a PIN from the card; `refused` tells of the same command."""
        self._pin_stops += 1

    @property
    def happenings(self) -> int:
        """A number that grows with everything that `counts` tells, and costs less than those."""
        return self._bytes_sent + self._bytes_received + self._errors + self._refused

    def tap(self, tap: Tap) -> None:
        """Let it hear what passes from now on."""
        with self._tapping:
            self.taps = (*self.taps, tap)

    def untap(self, tap: Tap) -> None:
        """Let it hear no more."""
        with self._tapping:
            self.taps = tuple(each for each in self.taps if each is not tap)

    def counts(self) -> Counts:
        """All of them now; the same object as before when nothing came."""
        if self._numbers() != self._counted:
            self._counted = self._numbers()
            self._counts = Counts(self._named(), *self._counted)
        return self._counts

    def _numbers(self) -> tuple[int, ...]:
        """In the order of `Counts`."""
        refused, failures, errors = self._refused, self._pin_failures, self._errors
        return (refused, failures, errors, self._bytes_sent, self._bytes_received, self._pin_stops)

    def _named(self) -> dict[str, int]:
        named: dict[str, int] = {}
        for instruction, count in sorted(self._by_instruction.copy().items()):  # the bridge's thread may add one
            name = instruction_name(instruction)
            named[name] = named.get(name, 0) + count
        return named


class Audit:
    """A Card around a Card: what passes is counted in the ledger."""

    def __init__(self, card: Card, ledger: Ledger) -> None:
        self._card = card
        self._ledger = ledger

    @property
    def transmission(self) -> Transmission:
        """The card's own."""
        return self._card.transmission

    def power_on(self) -> bytes:
        """Power the card on."""
        return self._powered(self._card.power_on())

    def reset(self) -> bytes:
        """Reset it."""
        return self._powered(self._card.reset())

    def power_off(self) -> None:
        """Let go of it."""
        self._card.power_off()

    def listen(self, listener: CardListener | None) -> None:
        """The card's own events."""
        self._card.listen(listener)

    def transmit(self, command: bytes) -> bytes:
        """Send a command, and count it and its answer."""
        ledger = self._ledger
        if ledger.taps:
            return self._tapped(command)
        ledger.sent(command)
        try:
            response = self._card.transmit(command)
        except CardError:
            ledger.failed()
            raise
        ledger.answered(command, response)
        return response

    def _tapped(self, command: bytes) -> bytes:
        ledger, taps = self._ledger, self._ledger.taps
        ledger.sent(command)
        for tap in taps:
            tap.command(command)
        try:
            response = self._card.transmit(command)
        except CardError:
            ledger.failed()
            for tap in taps:
                tap.failed()
            raise
        ledger.answered(command, response)
        for tap in taps:
            tap.response(response)
        return response

    def _powered(self, atr: bytes) -> bytes:
        for tap in self._ledger.taps:
            tap.powered(atr)
        return atr


def _is_pin_failure(command: bytes, response: bytes) -> bool:
    """63Cx or 6300, or 6983, to a PIN. Without one these tell how many tries are left (ISO 7816-4:2013, 11.5.6)."""
    return (response[-2:-1] == _WRONG_PIN or response[-2:] == _BLOCKED) and _carries_data(command)


def _carries_data(command: bytes) -> bool:
    """More than a header and an Le of one or three bytes (ISO 7816-3, 12.1.3)."""
    body = len(command) - HEADER_BYTES
    return body > 1 and not (body == 3 and not command[HEADER_BYTES])
