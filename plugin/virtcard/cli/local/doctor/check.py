"""What a check is: a function from the situation to one outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from virtcard.cli.options import Bus, Choice


class Result(StrEnum):
    """`ERROR`: virtcard does not work like that; `WARNING`: it works, with something to know."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check: a sentence, and what to do when it is not "ok"."""

    result: Result
    message: str
    hint: str = ""


def ok(message: str, hint: str = "") -> Outcome:
    """All is well."""
    return Outcome(Result.OK, message, hint)


def warning(message: str, hint: str) -> Outcome:
    """It works, with something to know."""
    return Outcome(Result.WARNING, message, hint)


def error(message: str, hint: str) -> Outcome:
    """It does not work."""
    return Outcome(Result.ERROR, message, hint)


@dataclass(frozen=True, slots=True)
class Situation:
    """Where to look: `root` stands in front of every absolute path, "/" but in tests."""

    choice: Choice
    bus: Bus
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def path(self, absolute: str) -> Path:
        """An absolute path of the machine that is looked at."""
        return self.root / absolute.lstrip("/")

    @property
    def uri(self) -> str:
        """The libvirt URI that belongs to the bus."""
        return f"qemu:///{self.bus}"


Check = Callable[[Situation], Outcome | None]
"""None: nobody is there who could tell. `check_daemon` says that, and once is enough."""
