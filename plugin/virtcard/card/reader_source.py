"""`reader:GLOB`: the card in the host reader whose PC/SC name matches, shared by leases."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from virtcard.card.base import Surroundings
from virtcard.card.lease.leased import Leased
from virtcard.card.lease.office import LeaseOffices
from virtcard.card.lease.rules import STANDARD, LeaseTimes
from virtcard.card.reader import SERVICE_GONE, Context, PcscError, ReaderInfo
from virtcard.card.reader_card import ReaderCard
from virtcard.card.reader_contexts import ReaderContexts
from virtcard.card.reader_watcher import ReaderWatcher
from virtcard.errors import Disconnected, NoSuchReader


class ReaderSource:
    """The `reader` scheme. One for each process: its cards share the contexts, the watcher and the lease offices."""

    def __init__(
        self, watcher: ReaderWatcher, contexts: ReaderContexts | None = None, times: LeaseTimes = STANDARD
    ) -> None:
        self._watcher = watcher
        self._contexts = contexts or ReaderContexts()
        self._offices = LeaseOffices(times)

    @classmethod
    def registered(cls, surroundings: Surroundings) -> ReaderSource:
        """As pyproject.toml registers it."""
        return cls(surroundings.watcher())

    def open(self, rest: str) -> Leased:
        """The card in the one reader that matches the glob `rest`; Disconnected while pcscd is away."""
        card = ReaderCard(choose(present_readers(), rest).name, self._contexts, self._watcher)
        return Leased(card, self._offices.of(card.reader))


def present_readers() -> tuple[ReaderInfo, ...]:
    """The readers now, asked from pcscd with a context of its own."""
    try:
        context = Context()
        try:
            names = context.readers()
            return tuple(info for info, _ in context.wait(dict.fromkeys(names, 0), 0)) if names else ()
        finally:
            context.release()
    except PcscError as failure:
        if failure.code in SERVICE_GONE:
            raise Disconnected(
                "The PC/SC service (pcscd) is away.", hint="Start it: systemctl start pcscd.socket"
            ) from None
        raise


def choose(readers: Sequence[ReaderInfo], pattern: str) -> ReaderInfo:
    """The reader of exactly that name, or the only match, or the only match with a card; NoSuchReader else."""
    # Names carry brackets ("... [CCID Interface] 00 00"), which a glob reads as a set: the plain name comes first.
    matching = [reader for reader in readers if reader.name == pattern]
    matching = matching or [reader for reader in readers if fnmatchcase(reader.name, pattern)]
    holding = [reader for reader in matching if reader.present]
    for candidates in (matching, holding):
        if len(candidates) == 1:
            return candidates[0]
    if matching:
        raise NoSuchReader(
            f'"{pattern}" matches several readers: {_names(matching)}.', hint="Name one of them, or leave one card in."
        )
    known = f"Readers here: {_names(readers)}." if readers else "No reader is plugged in."
    raise NoSuchReader(f'No reader matches "{pattern}".', hint=known)


def _names(readers: Sequence[ReaderInfo]) -> str:
    return ", ".join(reader.name for reader in readers)
