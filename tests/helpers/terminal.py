"""A program on a terminal, that a test types to and looks at."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.waiting import wait_until

PATIENCE = 20.0
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


class Terminal:
    """`process` runs on it."""

    def __init__(self, process: subprocess.Popen[bytes], side: int) -> None:
        self.process = process
        self._side = side
        self._shown = ""

    def type(self, keys: str) -> None:
        """As on a keyboard."""
        os.write(self._side, keys.encode())

    def wait(self, text: str) -> None:
        """Until it shows this, from the last wait on."""
        try:
            wait_until(lambda: self._shows(text), PATIENCE, text)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._shown!r}") from None
        self._shown = ""

    def _shows(self, text: str) -> bool:
        with suppress(BlockingIOError):
            self._shown += os.read(self._side, 65536).decode(errors="replace")
        return text in _CONTROLS.sub("", self._shown)


@contextmanager
def on_terminal(
    command: Sequence[str | Path], environment: Mapping[str, str], *, cwd: Path | None = None, columns: int = 80
) -> Iterator[Terminal]:
    """A terminal of its own, which the program ends with."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=cwd
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)
