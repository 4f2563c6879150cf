"""What is wrong with a policy, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from virtcard.policy.model import Place


class Severity(StrEnum):
    """`ERROR`: the policy is not used; `WARNING`: it is, and may not say what was meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One of them. `key` is the dotted key, or ""."""

    severity: Severity
    place: Place
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {f'{self.key}: ' if self.key else ''}{self.message}"


class Bad(Exception):
    """A value that does not fit; `path` leads to it from the key that was looked at."""

    def __init__(self, message: str, hint: str = "", path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path

    def below(self, *path: str | int) -> Bad:
        """The same, seen from further up."""
        return Bad(self.message, self.hint, (*path, *self.path))
