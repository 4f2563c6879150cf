"""A card that knows its users by their PINs, and users that know what the card must tell them.

Commands are those of ISO 7816-4. After SELECT, GET DATA says which application is selected; PERFORM SECURITY OPERATION
gives back what came in its chain; INTERNAL AUTHENTICATE needs a login and tells whose it was. Every question has a
number of its own, which the answer repeats. As with every T=0 card data wait for GET RESPONSE.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from helpers.scripted_card import ATR_T0, OK
from virtcard.card.reader import Disposition, Handle, PcscError, Result

DENIED, WRONG_PIN, LOST, UNKNOWN = b"\x69\x82", b"\x63\xc3", b"\x69\x85", b"\x6d\x00"
MORE, FETCH = 0x61, b"\x00\xc0\x00\x00\x00"
VISIT = 20
"""Questions of a visit after its SELECT."""
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


Question = Generator[list[bytes], list[bytes], None]
"""Gives its commands, and gets their answers, each with what GET RESPONSE fetched; Lost is thrown in when one was."""


@dataclass
class User:
    """Asks random questions and checks each answer. Without `knows_pin` it asks for what needs a login all the same."""

    name: str
    exchange: Callable[[bytes], bytes]
    seed: int
    knows_pin: bool = True
    mistakes: list[str] = field(default_factory=list)
    commands: int = 0
    answers: int = 0
    refused: int = 0
    lost: int = 0
    denied: int = 0
    proven: int = 0
    """Commands that needed a login, and got through."""
    _logged_in: bool = False
    _selected: bytes = b""
    """Empty when it is not known."""
    _number: int = 0

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.commands} commands, {self.answers} questions answered, {self.proven} behind the PIN, "
            f"{self.denied} denied, {self.lost} begun again, {self.refused} refused, "
            f"{len(self.mistakes)} wrong: {self.mistakes[:3]}"
        )

    def run(self, until: Callable[[], bool]) -> None:
        """Ask until it is so."""
        while not until():
            self.ask()

    def ask(self) -> None:
        """One question, whose commands go one by one."""
        question = self._any() if self._selected else self._select()
        try:
            answers = [self._fetched(command) for command in next(question)]
        except Refused:
            self._was_refused(question)
        except Lost:
            self._was_lost(question)
        else:
            self._was_answered(question, answers)

    def forget(self) -> None:
        """Others may have selected something meanwhile, as a program of the host must expect."""
        self._selected = b""

    def _any(self) -> Question:
        questions = [self._select, self._which, self._echo, self._prove, self._prove]
        if self.knows_pin:
            questions += [self._log_in, self._log_in]
        return self._rng.choice(questions)()

    def _was_answered(self, question: Question, answers: list[bytes]) -> None:
        with suppress(StopIteration):
            question.send(answers)
        self.answers += 1

    def _was_lost(self, question: Question) -> None:
        with suppress(Lost, StopIteration):
            question.throw(Lost())
        self.lost += 1

    def _was_refused(self, question: Question) -> None:
        question.close()
        self.refused += 1
        self._selected = b""

    def _select(self) -> Question:
        name = self._rng.choice(APPLICATIONS)
        try:
            (answer,) = yield [_command(b"\x00\xa4\x04\x00", name)]
            self._expect(answer, b"\x6f" + name, "SELECT")
        finally:
            self._selected = name  # if the rest of its answer was lost, too

    def _which(self) -> Question:
        number = self._next()
        (answer,) = yield [b"\x00\xca" + number]
        if self._selected:
            self._expect(answer, self._selected + number, "GET DATA")

    def _echo(self) -> Question:
        parts = [self._next() + self._rng.randbytes(6) for _ in range(self._rng.randint(1, 4))]
        *begun, answer = yield [
            *(_command(b"\x10\x2a\x9e\x9a", part) for part in parts[:-1]),
            _command(b"\x00\x2a\x9e\x9a", parts[-1]),
        ]
        for part in begun:
            self._expect(part, b"", "the beginning of a chain")
        self._expect(answer, b"".join(parts), "a chain")

    def _log_in(self) -> Question:
        try:
            (answer,) = yield [_command(b"\x00\x20\x00\x80", pin_of(self.name))]
            self._expect(answer, b"", "VERIFY")
        finally:
            self._logged_in = True  # the answer may have been lost

    def _prove(self) -> Question:
        number = self._next()
        (answer,) = yield [_command(b"\x00\x88\x00\x00", number)]
        if answer == DENIED:
            self.denied += 1
            return
        self.proven += answer[-2:] == OK
        if not (self.knows_pin and self._logged_in) or answer != self.name.encode() + number + OK:
            self._wrong("a command behind the PIN", answer)

    def _next(self) -> bytes:
        self._number = (self._number + 1) % 0x10000
        return self._number.to_bytes(2)

    def _fetched(self, command: bytes) -> bytes:
        """The answer, with what GET RESPONSE fetches when there is something."""
        answer = self._raw(command)
        return self._raw(FETCH[:4] + answer[1:2]) if answer[0] == MORE and len(answer) == 2 else answer

    def _raw(self, command: bytes) -> bytes:
        self.commands += 1
        answer = self.exchange(command)
        if answer == LOST:
            raise Lost
        return answer

    def _expect(self, answer: bytes, data: bytes, what: str) -> None:
        if answer != data + OK:
            self._wrong(what, answer)

    def _wrong(self, what: str, answer: bytes) -> None:
        self.mistakes.append(f"{what}: {answer!r}")


class Visitor(User):
    """Asks many questions at a time, where it takes long to begin: each command with a GET RESPONSE behind it.

    `exchange_all` sends commands over one PC/SC handle; None stands for one that was not carried out.
    """

    def __init__(
        self, name: str, exchange_all: Callable[[list[bytes]], list[bytes | None]], seed: int, *, knows_pin: bool
    ) -> None:
        super().__init__(name, lambda command: exchange_all([command])[0] or b"", seed, knows_pin)
        self._exchange_all = exchange_all

    def ask(self) -> None:
        """One visit."""
        questions = [self._select(), *(self._any() for _ in range(VISIT))]
        asked = [(question, next(question)) for question in questions]
        sent = [command for _, commands in asked for each in commands for command in _with_fetch(each)]
        self.commands += len(sent)
        given, before = self._exchange_all(sent), len(self.mistakes)
        answers = iter(given)
        for question, commands in asked:
            self._judge(question, [_joined([next(answers) for _ in _with_fetch(each)]) for each in commands])
        if len(self.mistakes) > before:
            print(f"a visit of {self.name}:", *map(_line, sent, given), sep="\n")

    def _judge(self, question: Question, answers: list[bytes | None]) -> None:
        known = [answer for answer in answers if answer is not None]
        if len(known) < len(answers):
            self._was_refused(question)
        elif LOST in known or (UNKNOWN in known and not self._selected):
            self._was_lost(question)  # after a SELECT without an answer a guard knows no application
        else:
            self._was_answered(question, known)


def _with_fetch(command: bytes) -> list[bytes]:
    """Within a chain there is nothing to fetch, and GET RESPONSE would end it (ISO 7816-4, 5.3.3)."""
    return [command] if command[0] & 0x10 else [command, FETCH]


def _joined(answers: list[bytes | None]) -> bytes | None:
    """What a command gave, with what was fetched if there was something."""
    first, *rest = answers
    return rest[0] if rest and first is not None and first[0] == MORE and len(first) == 2 else first


def _line(command: bytes, answer: bytes | None) -> str:
    return f"{command.hex()} {'error' if answer is None else answer.hex()}"


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
