"""Asks on a terminal, one question at a time. Whatever is not clearly a yes is a no."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from virtcard.agent import words
from virtcard.agent.asked import Choice, Notice, Question
from virtcard.errors import Failed

LINE_MAX: Final = 4096
"""Bytes of a line that a terminal takes."""


class Terminal:
    """A front on an open terminal, in its usual line mode. Its end is `closed`."""

    def __init__(self, descriptor: int) -> None:
        self._tty = descriptor
        self._turn = asyncio.Lock()
        self.closed = asyncio.Event()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Terminal]:
        """The terminal that this process was started from; Failed when there is none."""
        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise Failed("There is no terminal here to ask on.", hint="Run it in one.") from error
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)

    async def ask(self, question: Question) -> Choice:
        """What is typed below the question: the first letter of a choice, or the word."""
        async with self._turn:
            self._forget_input()
            self.write(_prompt(question))
            try:
                line = await self._line()
            except asyncio.CancelledError:
                self._forget_input()
                self.write("\nThe question is over.\n")
                raise
        choice = next((each for each in question.choices if line in {each[0], each.value}), Choice.DENY)
        self.write(f"{words.button(choice, question)}.\n")
        return choice

    async def tell(self, notice: Notice) -> None:
        """A line of its own."""
        told = words.told(notice)
        if told is not None:
            self.write(f"\n{told[1]}\n")

    def write(self, text: str) -> None:
        """Print it; a terminal that is gone is `closed`."""
        try:
            os.write(self._tty, text.encode(errors="replace"))
        except OSError:
            self.closed.set()

    def _forget_input(self) -> None:
        """What was typed before the question was there answers no question."""
        try:
            termios.tcflush(self._tty, termios.TCIFLUSH)
        except termios.error:
            self.closed.set()

    async def _line(self) -> str:
        """The next line, stripped and in small letters; "" when the terminal is gone."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._tty, readable.set)
        try:
            await readable.wait()
            line = os.read(self._tty, LINE_MAX)
        except OSError:
            line = b""
        finally:
            loop.remove_reader(self._tty)
        if not line:
            self.closed.set()
        return line.decode(errors="replace").strip().lower()


def _prompt(question: Question) -> str:
    choices = [choice for choice in question.choices if choice is not Choice.DENY]
    lines = [f"  {choice[0]}  {words.button(choice, question)}" for choice in choices]
    return "\n".join(["", words.sentence(question), *lines, "Anything else denies. Answer: "])
