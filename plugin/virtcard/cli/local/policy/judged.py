"""What a rule's guard says to a row of commands: before a card that does whatever it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from virtcard.card.base import CardListener, Transmission
from virtcard.card.guard.guard import Guard
from virtcard.card.guard.profile import compile_profile
from virtcard.card.guard.refusal import Reason
from virtcard.errors import InvalidArgument
from virtcard.limits import C_APDU_MAX
from virtcard.policy.model import Rule

_DONE = b"\x90\x00"
_SHORTEST = 4
"""Bytes of a command: its header."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is "" for a command that reaches the card; `response` is what the guest gets in place of its answer."""

    command: bytes = field(repr=False)
    reason: str = ""
    response: bytes = b""


class Obedient:
    """A card that answers 9000 to everything."""

    transmission = Transmission.T0

    def power_on(self) -> bytes:
        """The shortest ATR."""
        return b"\x3b\x00"

    def reset(self) -> bytes:
        """The same."""
        return self.power_on()

    def power_off(self) -> None:
        """Nothing to do."""

    def listen(self, listener: CardListener | None) -> None:
        """It has nothing to tell."""

    def transmit(self, command: bytes) -> bytes:  # noqa: ARG002 (whatever it is)
        """9000."""
        return _DONE


class _Noted:
    """Takes note of why the last command was refused."""

    def __init__(self) -> None:
        self.reason = ""

    def refused(self, header: bytes, reason: Reason) -> None:  # noqa: ARG002 (what the guard tells)
        self.reason = reason.value

    def pin_stopped(self, tries: int) -> None:
        """No PIN guard stands here."""


def judged(rule: Rule, commands: Sequence[bytes]) -> list[Verdict]:
    """The verdict on each, one after the other on one card: a SELECT counts for those behind it."""
    noted = _Noted()
    guard = Guard(Obedient(), compile_profile(rule.commands.base, rule.commands.applications), observer=noted)
    guard.power_on()
    found = []
    for command in commands:
        noted.reason = ""
        response = guard.transmit(command)
        found.append(Verdict(command, noted.reason, response if noted.reason else b""))
    return found


def apdu(text: str) -> bytes:
    """A command in hex, with or without spaces and colons; InvalidArgument for anything else."""
    try:
        command = bytes.fromhex(text.replace(":", " "))
    except ValueError:
        command = b""
    if not _SHORTEST <= len(command) <= C_APDU_MAX:
        raise InvalidArgument(f"'{text[:40]}' is no command APDU.", hint="Write at least 4 bytes in hex: 00A40400.")
    return command
