"""A table of what is let through while one application is selected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from virtcard.card.guard.applications import Application
from virtcard.card.guard.classes import Kind
from virtcard.card.guard.pattern import Pattern


class Verdict(StrEnum):
    """What a table says of a command."""

    ALLOWED = "allowed"
    ALLOWED_WITH_DATA = "allowed with these data"
    CLASS = "class"
    INSTRUCTION = "instruction"
    PARAMETERS = "parameters"


Parameters = tuple[int, int, bytes | None]
"""Mask and value of P1 and P2, and the only data that are let through, if there are such."""
Rules = dict[tuple[Kind, int], tuple[Parameters, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What is let through while one application is selected."""

    application: Application
    allowed: Rules | None
    """None lets everything through that is not denied."""
    denied: Rules

    def verdict(self, kind: Kind, ins: int, parameters: int, data: bytes | None) -> Verdict:
        """On a command; data are None when they cannot be seen."""
        if any(parameters & mask == value for mask, value, _ in self.denied.get((kind, ins), ())):
            return Verdict.PARAMETERS
        if self.allowed is None:
            return Verdict.ALLOWED
        rules = self.allowed.get((kind, ins))
        if rules is None:
            return Verdict.CLASS if kind in (Kind.READER, Kind.OTHER) else Verdict.INSTRUCTION
        for mask, value, only in rules:
            if parameters & mask == value:
                if only is None:
                    return Verdict.ALLOWED
                if only == data:
                    return Verdict.ALLOWED_WITH_DATA
        return Verdict.PARAMETERS


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """What is selected on a channel, and the table for it."""

    table: Table
    doubted: Table
    """For when it is no longer sure: an admin's own permissions do not count, and what is denied anywhere is."""

    @property
    def application(self) -> Application:
        """Which one it is, as far as it is known."""
        return self.table.application

    def in_doubt(self) -> Selected:
        """The same after a SELECT by name that failed: ISO 7816-4 (11.2.2) and SP 800-73-4 part 2 (3.1.1) keep what was
        selected, and a few cards do not."""
        return Selected(self.doubted, self.doubted)


def rules_of(patterns: Iterable[tuple[Kind, Pattern, bytes | None]]) -> Rules:
    """Patterns with their class, and the only data that they let through, by class and instruction."""
    found: defaultdict[tuple[Kind, int], list[Parameters]] = defaultdict(list)
    for kind, pattern, only in patterns:
        for ins in pattern.instructions():
            found[kind, ins].append((*pattern.parameters, only))
    return {key: tuple(rules) for key, rules in found.items()}
