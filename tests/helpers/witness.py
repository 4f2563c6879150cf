"""A card that knows its users by their PINs, and users that know what the card must tell them.

Commands are those of ISO 7816-4. After SELECT, GET DATA says which application is selected; PERFORM SECURITY OPERATION
gives back what came in its chain; INTERNAL AUTHENTICATE needs a login and tells whose it was. Every question has a
number of its own, which the answer repeats. As with every T=0 card data wait for GET RESPONSE.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from helpers.scripted_card import ATR_T0, OK
from virtcard.card.reader import Disposition, Handle, PcscError, Result

DENIED, WRONG_PIN, LOST, UNKNOWN = b"\x69\x82", b"\x63\xc3", b"\x69\x85", b"\x6d\x00"
APPLICATIONS = (b"\xf0witness-one", b"\xf0witness-two", b"\xf0witness-three")


def pin_of(name: str) -> bytes:
    """The PIN by which the card knows this user."""
    return name.encode().ljust(8, b"\xff")


class WitnessCard:
    """The card, as vpcd takes it. `users` are those with a PIN."""

    def __init__(self, *users: str) -> None:
        self.atr = ATR_T0
        self.commands = 0
        self.resets = 0
        self._pins = {pin_of(user): user for user in users}
        self.reset()

    def reset(self) -> None:
        """Nobody is logged in, nothing is selected, nothing waits."""
        self.resets += 1
        self._login = ""
        self._selected = b"none"
        self._chain = self._waiting = b""

    def transmit(self, command: bytes) -> bytes:
        """Answer one command."""
        self.commands += 1
        instruction, data = command[1], command[5 : 5 + command[4]] if len(command) > 5 else b""
        if instruction == 0xC0:
            waiting, self._waiting = self._waiting, b""
            return waiting + OK if waiting else LOST
        self._waiting = b""
        if command[0] & 0x10:
            self._chain += data
            return OK
        data, self._chain = self._chain + data, b""
        answers: dict[int, Callable[[], bytes]] = {
            0xA4: lambda: self._select(data),
            0xCA: lambda: self._later(self._selected + command[2:4]),
            0x2A: lambda: self._later(data),
            0x20: lambda: self._verify(data),
            0x88: lambda: self._later(self._login.encode() + data) if self._login else DENIED,
        }
        return answers[instruction]() if instruction in answers else UNKNOWN

    def _select(self, name: bytes) -> bytes:
        if name not in APPLICATIONS:
            return b"\x6a\x82"
        self._selected = name
        return self._later(b"\x6f" + name)

    def _verify(self, pin: bytes) -> bytes:
        self._login = self._pins.get(pin, "")
        return OK if self._login else WRONG_PIN

    def _later(self, data: bytes) -> bytes:
        self._waiting = data
        return bytes([0x61, len(data)])


class Refused(Exception):
    """The command was not carried out: the machine's PC/SC call failed."""


class Lost(Exception):
    """6985: what the command continued was lost, and is to be begun again."""


@dataclass
class User:
    """Asks random questions and checks each answer. Without `knows_pin` it asks for what needs a login all the same."""

    name: str
    exchange: Callable[[bytes], bytes]
    seed: int
    knows_pin: bool = True
    mistakes: list[str] = field(default_factory=list)
    answers: int = 0
    refused: int = 0
    lost: int = 0
    denied: int = 0
    proven: int = 0
    """Commands that needed a login, and got through."""
    _logged_in: bool = False
    _selected: bytes = b""
    _number: int = 0

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.answers} answers, {self.proven} behind the PIN, {self.denied} denied, "
            f"{self.lost} begun again, {self.refused} refused, {len(self.mistakes)} wrong: {self.mistakes[:3]}"
        )

    def run(self, until: Callable[[], bool]) -> None:
        """Ask until it is so."""
        while not until():
            self.ask()

    def ask(self) -> None:
        """One question."""
        questions = [self._select, self._which, self._echo, self._prove, self._prove]
        if self.knows_pin:
            questions += [self._log_in, self._log_in]
        try:
            (self._rng.choice(questions) if self._selected else self._select)()
            self.answers += 1
        except Refused:
            self.refused += 1
            self._selected = b""
        except Lost:
            self.lost += 1
            self._selected = b""  # a SELECT whose answer was lost was done all the same

    def forget(self) -> None:
        """Others may have selected something meanwhile, as a program of the host must expect."""
        self._selected = b""

    def _select(self) -> None:
        name = self._rng.choice(APPLICATIONS)
        self._expect(self._ask(b"\x00\xa4\x04\x00", name), b"\x6f" + name, "SELECT")
        self._selected = name

    def _which(self) -> None:
        number = self._next()
        self._expect(self._fetched(b"\x00\xca" + number), self._selected + number, "GET DATA")

    def _echo(self) -> None:
        parts = [self._next() + self._rng.randbytes(6) for _ in range(self._rng.randint(1, 4))]
        for part in parts[:-1]:
            answer = self._raw(_command(b"\x10\x2a\x9e\x9a", part))
            if answer != OK:
                self._wrong("a chain", answer)
                return
        self._expect(self._ask(b"\x00\x2a\x9e\x9a", parts[-1]), b"".join(parts), "a chain")

    def _log_in(self) -> None:
        self._logged_in = True  # before: the answer may get lost
        answer = self._raw(_command(b"\x00\x20\x00\x80", pin_of(self.name)))
        if answer != OK:
            self._wrong("VERIFY", answer)

    def _prove(self) -> None:
        number = self._next()
        answer = self._raw(_command(b"\x00\x88\x00\x00", number))
        if answer == DENIED:
            self.denied += 1
            return
        answer = self._rest(answer)
        if not (self.knows_pin and self._logged_in) or answer != self.name.encode() + number + OK:
            self._wrong("a command behind the PIN", answer)
        self.proven += 1

    def _next(self) -> bytes:
        self._number = (self._number + 1) % 0x10000
        return self._number.to_bytes(2)

    def _ask(self, header: bytes, data: bytes) -> bytes:
        return self._fetched(_command(header, data))

    def _fetched(self, command: bytes) -> bytes:
        return self._rest(self._raw(command))

    def _rest(self, answer: bytes) -> bytes:
        """GET RESPONSE, when there is something to fetch."""
        return self._raw(b"\x00\xc0\x00\x00" + answer[1:2]) if answer[0] == 0x61 and len(answer) == 2 else answer

    def _raw(self, command: bytes) -> bytes:
        answer = self.exchange(command)
        if answer == LOST:
            raise Lost
        return answer

    def _expect(self, answer: bytes, data: bytes, what: str) -> None:
        if answer != data + OK:
            self._wrong(what, answer)

    def _wrong(self, what: str, answer: bytes) -> None:
        self.mistakes.append(f"{what}: {answer!r}")


class Program:
    """A program of the host: it has the card in transactions, and takes resets as PC/SC wants it."""

    def __init__(self, handle: Handle, seed: int, name: str = "host") -> None:
        self.user = User(name, self._exchange, seed)
        self.waits: list[float] = []
        self._handle = handle

    def run(self, until: threading.Event, pause: float) -> None:
        """Take turns until told to stop."""
        while not until.wait(pause):
            self.turn()

    def turn(self, questions: int = 5) -> None:
        """One transaction, and how long it was waited for."""
        asked = time.monotonic()
        self._begin()
        self.waits.append(time.monotonic() - asked)
        self.user.forget()
        for _ in range(questions):
            self.user.ask()
        self._handle.end(Disposition.LEAVE)

    def _begin(self) -> None:
        while True:
            try:
                return self._handle.begin()
            except PcscError as failure:
                if failure.code != Result.RESET_CARD:
                    raise
                self._handle.reconnect(Disposition.LEAVE)

    def _exchange(self, command: bytes) -> bytes:
        return self._handle.transmit(command)


def _command(header: bytes, data: bytes) -> bytes:
    return header + bytes([len(data)]) + data
