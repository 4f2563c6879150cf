"""The card that SOURCE names, opened in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

from virtcard.card.base import Card
from virtcard.card.reader_source import ReaderSource
from virtcard.card.reader_watcher import ReaderWatcher
from virtcard.errors import InvalidArgument, NoSuchCard

GROUP = "virtcard.sources"
"""Entry points of card sources that others bring: scheme -> callable that makes a Source."""
HINT = "Write reader:GLOB for a host reader's card, or card:NAME for a software card."


@contextmanager
def opened(text: str) -> Iterator[Card]:
    """The card behind `scheme:rest`. InvalidArgument, NoSuchCard and NoSuchReader have a sentence."""
    scheme, colon, rest = text.partition(":")
    if not (scheme and colon and rest):
        raise InvalidArgument(f"'{text}' is not a card source.", hint=HINT)
    if scheme != "reader":
        yield _foreign(scheme, rest)
        return
    watcher = ReaderWatcher()
    card = ReaderSource(watcher).open(rest)
    watcher.start()
    try:
        yield card
    finally:
        watcher.stop()


def _foreign(scheme: str, rest: str) -> Card:
    for entry in entry_points(group=GROUP, name=scheme):
        card: Card = entry.load()().open(rest)
        return card
    raise NoSuchCard(f"No card source is called '{scheme}:'.", hint=HINT)
