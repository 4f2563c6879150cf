"""The host's side of the agent in the test guest (contrib/guest/agent): one command, one framed reply."""

from __future__ import annotations

import base64
import socket
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

COMMAND_MAX = 24 * 1024
"""Bytes of a command: base64 of it stays below the 64 KiB at which the guest's serial driver drops input."""

PING_PERIOD, PING_PERIOD_MAX = 0.3, 2.0
"""Seconds from one sign of life to the next, in the beginning and later: a busy guest must be able to keep up."""
REPLY_GRACE = 20.0
"""Seconds beyond a command's own timeout, for a busy machine and the way there and back."""


class GuestError(AssertionError):
    """The guest did not do what it was asked: a test fails with it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest came to; `output` holds its standard output and errors together."""

    exit_code: int
    output: str

    def check(self) -> str:
        """The output of a command that must succeed."""
        if self.exit_code:
            raise GuestError(f"exit code {self.exit_code} in the guest:\n{self.output}")
        return self.output


class GuestAgent:
    """A connection to the agent; one command at a time."""

    def __init__(self, path: Path) -> None:
        """`path` is the unix socket of the guest's second serial port, which must exist."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._received = bytearray()
        self._ids = count(1)

    def close(self) -> None:
        """Let go of the serial port, for another connection."""
        self._socket.close()

    def wait_until_up(self, timeout: float) -> None:
        """Return when the agent answers; what was sent before the guest listened is lost, so ask again and again.

        An answer to any of the questions will do: on a busy machine it comes when the next one has been asked.
        """
        deadline, period, asked = time.monotonic() + timeout, PING_PERIOD, set[int]()
        while time.monotonic() < deadline:
            asked.add(self._send(":", 5))
            try:
                self._reply(asked, time.monotonic() + period)
            except TimeoutError:
                period = min(2 * period, PING_PERIOD_MAX)
                continue
            return
        raise GuestError(f"the guest's agent did not answer within {timeout:g} s")

    def run(self, command: str, timeout: float) -> Result:
        """Run a shell command in the guest; GuestError when it takes longer than `timeout` seconds (it is killed)."""
        request = self._send(command, timeout)
        try:
            exit_code, output = self._reply({request}, time.monotonic() + timeout + REPLY_GRACE)
        except TimeoutError:
            raise GuestError(f"the guest's agent is silent after: {command}") from None
        text = output.decode(errors="replace")
        if exit_code == "timeout":
            raise GuestError(f"not done in the guest within {timeout:g} s: {command}\n{text}")
        return Result(int(exit_code), text)

    def _send(self, command: str, seconds: float) -> int:
        encoded = command.encode()
        if len(encoded) > COMMAND_MAX:
            raise ValueError(f"a command of {len(encoded)} bytes is too long for the guest's serial port")
        request = next(self._ids)
        # The first newline ends whatever noise the port has collected.
        self._socket.settimeout(REPLY_GRACE)
        self._socket.sendall(b"\n%d %d %s\n" % (request, max(1, round(seconds)), base64.b64encode(encoded)))
        return request

    def _reply(self, requests: set[int], deadline: float) -> tuple[str, bytes]:
        """The exit code and output of the first of them; older replies, that nobody waits for, are dropped."""
        while True:
            words = self._line(deadline).split()
            if len(words) != 4 or words[0] != b"done":
                continue
            output = self._exactly(int(words[3]), deadline)
            if int(words[1]) in requests:
                return words[2].decode(), output

    def _line(self, deadline: float) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            self._receive(deadline)
        return self._exactly(end + 1, deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        while len(self._received) < size:
            self._receive(deadline)
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(65536)
        if not data:
            raise GuestError("the guest has ended")
        self._received += data
