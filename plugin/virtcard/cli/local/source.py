"""The card that SOURCE names, opened in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

from virtcard.card.base import Card, Surroundings
from virtcard.card.sources import Sources, split

if TYPE_CHECKING:
    from virtcard.card.reader_watcher import ReaderWatcher


@contextmanager
def opened(text: str) -> Iterator[Card]:
    """The card behind `scheme:rest`. InvalidArgument, NoSuchCard and NoSuchReader have a sentence."""
    scheme, _ = split(text)
    with ExitStack() as stack:
        surroundings = Surroundings(os.geteuid() != 0, cache(lambda: _watching(stack)))
        yield Sources.installed(surroundings, only=scheme).open(text)


def _watching(stack: ExitStack) -> ReaderWatcher:
    """A watcher of host readers, for a source that wants one."""
    from virtcard.card.reader_watcher import ReaderWatcher

    watcher = ReaderWatcher()
    watcher.start()
    stack.callback(watcher.stop)
    return watcher
