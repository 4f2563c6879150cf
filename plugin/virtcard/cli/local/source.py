"""The card that SOURCE names, opened in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

from virtcard.card.base import Card, Surroundings
from virtcard.card.sources import Sources, split
from virtcard.cli.options import Choice

if TYPE_CHECKING:
    from virtcard.card.reader_watcher import ReaderWatcher


@contextmanager
def opened(text: str, choice: Choice) -> Iterator[Card]:
    """The card behind `scheme:rest`. InvalidArgument, NoSuchCard and NoSuchReader have a sentence.

    Software cards are those of the system or of this user as an option says it, else root's are the system's."""
    scheme, _ = split(text)
    session = choice.bus == "session" if choice.is_given else os.geteuid() != 0
    with ExitStack() as stack:
        surroundings = Surroundings(session, cache(lambda: _watching(stack)))
        yield Sources.installed(surroundings, only=scheme).open(text)


def _watching(stack: ExitStack) -> ReaderWatcher:
    """A watcher of host readers, for a source that wants one."""
    from virtcard.card.reader_watcher import ReaderWatcher

    watcher = ReaderWatcher()
    watcher.start()
    stack.callback(watcher.stop)
    return watcher
