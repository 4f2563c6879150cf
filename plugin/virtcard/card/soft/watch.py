"""Hears of every change in the directory of a store, whoever made it (inotify(7))."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from asyncinotify import Inotify, Mask

from virtcard.card.soft.cardfile import CARD

_GONE: Final = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED | Mask.UNMOUNT
_CARDS: Final = Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.CLOSE_WRITE
_ARRIVALS: Final = Mask.MOVED_TO | Mask.CREATE
_ASKABLE: Final = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR


async def changed_cards(directory: Path) -> AsyncIterator[str | None]:
    """Names of cards that came, changed or went; None stands for any of them: first, and when the count was lost.

    Ends when the directory goes. OSError when it cannot be watched.
    """
    with Inotify() as inotify:
        inotify.add_watch(directory, _CARDS | _ASKABLE)
        yield None
        async for event in inotify:
            if event.mask & _GONE:
                return
            if event.mask & Mask.Q_OVERFLOW:
                yield None
            elif event.name is not None and event.name.suffix == CARD:
                yield event.name.stem


async def appeared(directory: Path) -> None:
    """Wait until the directory is there. It is not made: whoever brings back a backup wants the place free."""
    while not directory.is_dir():
        missing = directory
        while not missing.parent.is_dir():
            missing = missing.parent
        await _arrival(missing)


async def _arrival(missing: Path) -> None:
    with Inotify() as inotify:
        inotify.add_watch(missing.parent, _ARRIVALS | _ASKABLE)
        if missing.is_dir():
            return  # it came before we listened
        async for event in inotify:
            if event.mask & _GONE or (event.name is not None and event.name.name == missing.name):
                return
