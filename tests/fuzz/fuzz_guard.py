"""The guard before a careless card: what is denied never reaches it, and its short way decides like the long one."""

from __future__ import annotations

from functools import cache
from typing import Final

from fuzz.choices import Choices
from helpers.guard_oracle import CHANGES, must_not_pass
from helpers.guard_table import ROWS
from helpers.guarded import Guarded
from virtcard.card.guard.profile import Profile, compile_profile

NAMES: Final = sorted(CHANGES)
COMMANDS: Final = [row.command for row in ROWS]
"""So many of the table are known that any of them can be called by two bytes."""


@cache
def profile(level: str) -> Profile:
    """Compiled once."""
    return compile_profile(level)


def check(data: bytes) -> None:
    """With the card's answers chosen by the fuzzer, or with a card whose application stays selected."""
    choices = Choices(data)
    if choices.number() % 2:
        _check_denials(choices)
    else:
        _check_answers(choices)


def _check_denials(choices: Choices) -> None:
    name, level = choices.one_of(NAMES), choices.one_of(["read", "use"])
    guarded = Guarded(profile=profile(level))
    guarded.select(name)
    guarded.card.commands.clear()
    guarded.card.default = lambda command: b"\x6a\x82" if command[1] in (0xA4, 0x70) else b"\x90\0"
    while choices.left:
        assert len(guarded.guard.transmit(_command(choices))) >= 2
    assert not [command for command in guarded.card.commands if must_not_pass(name, level, command)]


def _check_answers(choices: Choices) -> None:
    """A second guard that remembers nothing of what it looked at decides the same."""
    level, reserve = choices.one_of(["read", "use", "full"]), choices.number() % 5
    warm, fresh = (Guarded(profile=profile(level), reserve=reserve) for _ in range(2))
    while choices.left:
        command, response = _command(choices), choices.block()
        for guarded in (warm, fresh):
            guarded.card.default = response if len(response) >= 2 else b"\x90\0"
        fresh.guard._lanes.clear()
        fresh.guard._follow()
        answer = warm.send(command)
        assert len(answer) >= 4
        assert fresh.send(command) == answer
    assert warm.card.commands == fresh.card.commands
    assert warm.watcher.reasons == fresh.watcher.reasons


def _command(choices: Choices) -> bytes:
    """A known one, a known one with a byte changed, or any."""
    kind = choices.number() % 3
    if kind == 2:
        return choices.block()
    command = bytearray(COMMANDS[choices.number(2) % len(COMMANDS)])
    if kind == 1:
        command[choices.number() % len(command)] = choices.number()
    return bytes(command)
