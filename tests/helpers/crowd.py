"""Many stand-ins for QEMU in a process of their own: the side of whoever measures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.waiting import wait_until


@dataclass(frozen=True)
class Load:
    """What machines did under load: their rounds, and the observer's in sorted milliseconds."""

    rounds: list[int]
    observed_ms: list[float]

    def observed(self, share: float) -> float:
        """The milliseconds within which so large a share of the observer's rounds ended."""
        return self.observed_ms[int((len(self.observed_ms) - 1) * share)]


@dataclass(frozen=True)
class Moments:
    """Of one machine: `perf_counter` is the same clock in all processes of Linux."""

    inserted: bool
    inserted_at: float
    removed_at: float


class Crowd:
    """Made by `crowd`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def count(self) -> int:
        """How many machines have a card in."""
        return int(self._ask("count"))

    def wait_for(self, number: int, patience: float) -> None:
        """Wait until so many machines have a card in."""
        wait_until(lambda: self.count() == number, patience, f"{number} machines have a card")

    def moments(self, machine: int) -> Moments:
        """When its card came and went."""
        return Moments(**self._ask("moments", machine=machine))

    def hang_up(self, machine: int) -> None:
        """Its QEMU is gone for a moment."""
        self._ask("hang_up", machine=machine)

    def once(self, machines: Sequence[int], *commands: bytes) -> list[bytes]:
        """The last answer of each machine to these commands."""
        answers = self._ask("once", machines=list(machines), commands=_hex(commands))
        return [bytes.fromhex(answer) for answer in answers]

    def load(
        self,
        machines: Sequence[int],
        commands: Sequence[bytes],
        seconds: float,
        *,
        observer: int | None = None,
        observed: Sequence[bytes] = (),
    ) -> Load:
        """Machines repeat their commands without a pause, and an observer its own."""
        return Load(
            **self._ask(
                "load",
                machines=list(machines),
                commands=_hex(commands),
                observer=observer,
                observed=_hex(observed),
                seconds=seconds,
            )
        )

    def _ask(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the crowd has ended"
        return json.loads(line)


def _hex(commands: Sequence[bytes]) -> list[str]:
    return [command.hex() for command in commands]


@contextmanager
def crowd(paths: Sequence[Path]) -> Iterator[Crowd]:
    """A machine for each path, which listens there."""
    program = Path(__file__).with_name("crowd_process.py")
    with subprocess.Popen(
        [sys.executable, str(program), *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Crowd(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
