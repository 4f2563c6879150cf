"""The cards that a vscclient command line asks for, opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from virtcard.card.base import Card
from virtcard.card.reader_source import ReaderSource, present_readers
from virtcard.card.reader_watcher import ReaderWatcher
from virtcard.card.selection import Selection
from virtcard.card.soft.cac import applets_of
from virtcard.card.soft.iso7816 import ATR, SoftCard
from virtcard.card.soft.nss import find_database
from virtcard.card.soft.nss_token import NssToken
from virtcard.card.soft.stored import StoredCard
from virtcard.cli.local.vscclient.arguments import Arguments
from virtcard.cli.screen import warn
from virtcard.errors import NoSuchReader


@dataclass(frozen=True, slots=True)
class NamedCard:
    """A card by the name of its reader; `make` gives a new one of it, that a bridge may own."""

    name: str
    make: Callable[[], Card]


@contextmanager
def opened(wanted: Arguments) -> Iterator[tuple[NamedCard, ...]]:
    """The cards, the first one first; at least one. Errors of the tree say what is missing."""
    soft = _soft_cards(wanted)
    if not wanted.uses_hardware:
        yield soft
        return
    if wanted.emulation.as_cac:
        warn("The host's card is given to the guest as it is, not as a CAC.")
    watcher = ReaderWatcher()
    first = _first_reader()
    source = ReaderSource(watcher)
    watcher.start()
    try:
        yield (NamedCard(first, lambda: Selection(source.open(first))), *soft)
    finally:
        watcher.stop()


def _soft_cards(wanted: Arguments) -> tuple[NamedCard, ...]:
    readers = wanted.emulation.readers
    if not readers:
        return ()
    directory = find_database(wanted.emulation.database)
    return tuple(_soft_named(reader.name, NssToken(directory, reader.certificates)) for reader in readers)


def _soft_named(name: str, token: NssToken) -> NamedCard:
    soft_card(token)  # what cannot be a card is told now, and not when a guest looks for it
    return NamedCard(name, lambda: StoredCard(soft_card(token), partial(soft_card, token)))


def soft_card(token: NssToken) -> Card:
    """A CAC of that token; its counter of wrong PINs lives in the token."""
    return SoftCard(applets_of(token), ATR, token.logout)


def _first_reader() -> str:
    """The first host reader with a card, or else the first one."""
    readers = present_readers()
    if not readers:
        raise NoSuchReader("No reader is plugged in.", hint='Plug one in, or serve certificates: -e "soft=(...)".')
    return next((reader.name for reader in readers if reader.present), readers[0].name)
