"""A thousand stand-ins for QEMU in one thread of a process of its own, for measurements.

`python crowd_process.py PATH...` listens on every path, answers as ccid-card-passthru.c does (QemuPeer is the careful
one, this the quick one), and takes one JSON request a line, which `helpers.crowd` sends. Each machine's guest sends one
command at a time, and fetches what T=0 leaves for GET RESPONSE.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

HEADER = struct.Struct(">III")
INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU = range(1, 8)
INIT_PAYLOAD = b"VSCD" + struct.pack(">II", 2, 0)
ACKNOWLEDGED = bytes(4)

Ended = Callable[["Machine", float], None]
"""A machine has carried out its commands once more, in so many seconds."""


class Machine:
    """One QEMU with its guest."""

    def __init__(self, path: str) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        Path(path).unlink(missing_ok=True)
        self.server.bind(path)
        self.server.listen(4)
        self.link: socket.socket | None = None
        self.inserted_at = self.removed_at = 0.0
        self.inserted = False
        self.last = b""
        self._data = b""
        self._waiting: list[bytes] = []
        self._round: Sequence[bytes] = ()
        self._began = 0.0
        self._ended: Ended = lambda machine, seconds: None

    def carry_out(self, commands: Sequence[bytes], ended: Ended) -> None:
        """Send these in order, and tell when the last is answered."""
        self._round, self._ended = commands, ended
        self._waiting = list(commands)
        self._began = perf_counter()
        self._next()

    def again(self) -> None:
        """The same commands once more."""
        self.carry_out(self._round, self._ended)

    def receive(self) -> bool:
        """Take what came; False at the end."""
        assert self.link is not None
        try:
            data = self.link.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self.inserted = False
            return False
        self._data += data
        while len(self._data) >= HEADER.size:
            kind, _, length = HEADER.unpack_from(self._data)
            if len(self._data) < HEADER.size + length:
                break
            payload = self._data[HEADER.size : HEADER.size + length]
            self._data = self._data[HEADER.size + length :]
            self._take(kind, payload)
        return True

    def accept(self) -> socket.socket:
        """Somebody connects."""
        if self.link is not None:
            self.link.close()
        self.link, self._data = self.server.accept()[0], b""
        self.link.setblocking(False)
        return self.link

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == APDU:
            self._answered(payload)
        elif kind == INIT:
            self._send(INIT, INIT_PAYLOAD)
        elif kind != ERROR:
            self._control(kind)
            self._send(ERROR, ACKNOWLEDGED)

    def _control(self, kind: int) -> None:
        if kind == ATR:
            self.inserted, self.inserted_at = True, perf_counter()
        elif kind in (CARD_REMOVE, READER_REMOVE) and self.inserted:
            self.inserted, self.removed_at = False, perf_counter()

    def _answered(self, answer: bytes) -> None:
        if answer[-2:-1] == b"\x61":
            self._send(APDU, bytes((0, 0xC0, 0, 0, answer[-1])))
            return
        self.last = answer
        if self._waiting:
            self._next()
        else:
            self._ended(self, perf_counter() - self._began)

    def _next(self) -> None:
        self._send(APDU, self._waiting.pop(0))

    def _send(self, kind: int, payload: bytes) -> None:
        """By two writes, as QEMU."""
        assert self.link is not None
        with suppress(OSError):
            self.link.send(HEADER.pack(kind, 0, len(payload)))
            self.link.send(payload)


class Crowd:
    """All machines, and what is asked of them."""

    def __init__(self, paths: list[str]) -> None:
        self._machines = [Machine(path) for path in paths]
        self._selector = selectors.EpollSelector()
        for machine in self._machines:
            self._selector.register(machine.server, selectors.EVENT_READ, (self._accept, machine))
        self._selector.register(sys.stdin, selectors.EVENT_READ, (self._ask, None))
        self._open = True

    def run(self) -> None:
        """Until stdin ends."""
        while self._open:
            self._turn(None)

    def _turn(self, patience: float | None) -> None:
        for key, _ in self._selector.select(patience):
            act, machine = key.data
            act(machine)

    def _accept(self, machine: Machine) -> None:
        if machine.link is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(machine.link)
        self._selector.register(machine.accept(), selectors.EVENT_READ, (self._receive, machine))

    def _receive(self, machine: Machine) -> None:
        link = machine.link
        if link is not None and not machine.receive():
            self._selector.unregister(link)
            link.close()
            machine.link = None

    def _ask(self, _: None) -> None:
        line = sys.stdin.readline()
        if not line:
            self._open = False
            return
        request = json.loads(line)
        answer = getattr(self, request.pop("do"))(**request)
        print(json.dumps(answer), flush=True)

    def count(self) -> int:
        """How many have a card in."""
        return sum(machine.inserted for machine in self._machines)

    def moments(self, machine: int) -> dict[str, Any]:
        """Whether a card is in, and when the last one came and went, by the clock of all processes."""
        found = self._machines[machine]
        return {"inserted": found.inserted, "inserted_at": found.inserted_at, "removed_at": found.removed_at}

    def hang_up(self, machine: int) -> None:
        """QEMU is gone, and will listen again."""
        found = self._machines[machine]
        if found.link is not None:
            found.link.shutdown(socket.SHUT_RDWR)

    def once(self, machines: list[int], commands: list[str]) -> list[str]:
        """Every one of these machines sends these commands; the last answer of each, in hex."""
        done: list[Machine] = []
        for number in machines:
            self._machines[number].carry_out(_bytes(commands), lambda machine, _: done.append(machine))
        while len(done) < len(machines):
            self._turn(None)
        return [self._machines[number].last.hex() for number in machines]

    def load(
        self, machines: list[int], commands: list[str], observer: int | None, observed: list[str], seconds: float
    ) -> dict[str, Any]:
        """Machines repeat their commands without a pause, and one of them all the while its own.

        Rounds by machine, and the sorted milliseconds that each round of the observer took."""
        rounds = dict.fromkeys(machines, 0)
        taken: list[float] = []
        over = False
        numbers = {id(self._machines[number]): number for number in machines}

        def worked(machine: Machine, _seconds: float) -> None:
            rounds[numbers[id(machine)]] += 1
            if not over:
                machine.again()

        def looked(machine: Machine, took: float) -> None:
            taken.append(1000 * took)
            if not over:
                machine.again()

        for number in machines:
            self._machines[number].carry_out(_bytes(commands), worked)
        if observer is not None:
            self._machines[observer].carry_out(_bytes(observed), looked)
        end = perf_counter() + seconds
        while (left := end - perf_counter()) > 0:
            self._turn(left)
        counted = list(rounds.values())
        over = True
        self._rest()
        return {"rounds": counted, "observed_ms": sorted(taken)}

    def _rest(self) -> None:
        """Until nothing is under way any more."""
        quiet = perf_counter() + 0.5
        while perf_counter() < quiet:
            if self._selector.select(0.1):
                self._turn(0)
                quiet = perf_counter() + 0.5


def _bytes(commands: list[str]) -> list[bytes]:
    return [bytes.fromhex(command) for command in commands]


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Crowd(sys.argv[1:]).run()
