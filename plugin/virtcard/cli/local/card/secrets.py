"""PINs, PUKs and passwords: from a terminal or a file, never from the words of a command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, Final

import click

from virtcard.errors import Failed, InvalidArgument

SECRET_MAX: Final = 1024
"""Bytes of the line that holds one."""


def secret(what: str, file: str | None, option: str, *, fresh: bool = False) -> bytes:
    """The PIN, PUK or password `what`; a `fresh` one is asked for twice. InvalidArgument or Failed without one."""
    if file is None:
        return _asked(what, option, fresh=fresh)
    if file == "-":
        return _line(sys.stdin.buffer, option)
    try:
        with Path(file).open("rb") as opened:
            return _line(opened, option)
    except OSError as error:  # the file's name is not told: it may be the secret itself
        raise Failed(f"Cannot read the file of {option}: {error.strerror}.", hint="- is standard input.") from error


def terminal() -> bool:
    """There is somebody to ask."""
    return sys.stdin.isatty()


def _asked(what: str, option: str, *, fresh: bool) -> bytes:
    if not terminal():
        raise InvalidArgument(
            f"There is no terminal to ask for the {what}.", hint=f"Give it with {option} FILE; - is standard input."
        )
    text: str = click.prompt(what, hide_input=True, confirmation_prompt=fresh, err=True)
    return text.encode()


def _line(file: BinaryIO, option: str) -> bytes:
    line = file.readline(SECRET_MAX + 1)
    if len(line) > SECRET_MAX:
        raise InvalidArgument(f"The first line of the file of {option} is too long.")
    if not line:
        raise InvalidArgument(f"There is nothing to read for {option}.", hint="It is the first line of the file.")
    return line.rstrip(b"\r\n")
