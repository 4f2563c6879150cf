"""What is waited for, told on the terminal while it takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from virtcard.cli.screen import is_plain

AFTER: Final = 0.5
"""Seconds after which a person wonders."""


@contextmanager
def busy(sentence: str) -> Iterator[None]:
    """Say it on stderr, with something that moves, from AFTER on to the end; nowhere but on a terminal."""
    if is_plain(sys.stderr):
        yield
        return
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(sentence, done), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell(sentence: str, done: threading.Event) -> None:
    if done.wait(AFTER):
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(sentence)):
        done.wait()
