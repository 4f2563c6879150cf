"""Card sources by scheme, all of them plug-ins: ours stand in pyproject.toml as a third party's do.

An entry point of the group `virtcard.sources` has a scheme for its name, and for its value a factory: what it gives for
the Surroundings is the Source. One that fails is told of, and the others serve.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from virtcard import limits
from virtcard.card.base import Card, Source, Surroundings
from virtcard.errors import CardError, Failed, InvalidArgument, NoSuchCard, VirtcardError

log = logging.getLogger(__name__)

GROUP: Final = "virtcard.sources"
OUR_DISTRIBUTION: Final = "virtcard"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_CARD_CALLS: Final = ("power_on", "transmit", "reset", "power_off", "listen")
_REASON_MAX: Final = 200
"""Characters of somebody else's sentence in ours."""


@dataclass(frozen=True, slots=True)
class BrokenSource:
    """A registered source that does not serve, and why."""

    scheme: str
    provider: str
    """The distribution that registers it, or "" when that is not known."""
    reason: str
    """A clause for people."""
    error: BaseException | None = field(default=None, repr=False, compare=False)
    """What its code raised, for the journal."""

    def __str__(self) -> str:
        whose = f" of {self.provider}" if self.provider else ""
        return f"The card source '{self.scheme}:'{whose} does not serve: {self.reason}."


class Sources:
    """Opens a card from the text `scheme:rest`."""

    def __init__(self, sources: Mapping[str, Source], broken: Iterable[BrokenSource] = ()) -> None:
        self._sources = dict(sources)
        self.broken = tuple(broken)

    @classmethod
    def installed(cls, surroundings: Surroundings, only: str | None = None) -> Sources:
        """Every registered source, or that of one scheme alone: the code of the others is not touched then.

        Of several with one scheme ours serves, or else the one whose distribution is first in the alphabet.
        """
        sources: dict[str, Source] = {}
        broken: list[BrokenSource] = []
        owners: dict[str, str] = {}
        for entry in sorted(entry_points(group=GROUP), key=_precedence):
            if only not in (None, entry.name):
                continue
            if entry.name in owners:
                owner = owners[entry.name] or "another package"
                broken.append(BrokenSource(entry.name, _provider(entry), f"{owner} has this scheme"))
                continue
            owners[entry.name] = _provider(entry)
            loaded = _load(entry, surroundings)
            if isinstance(loaded, BrokenSource):
                broken.append(loaded)
            else:
                sources[entry.name] = loaded
        return cls(sources, broken)

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes that can be opened."""
        return tuple(sorted(self._sources))

    def check(self, text: str) -> tuple[str, str]:
        """Scheme and rest; InvalidArgument or NoSuchCard with a sentence."""
        scheme, rest = split(text)
        if scheme in self._sources:
            return scheme, rest
        if any(broken.scheme == scheme for broken in self.broken):
            raise NoSuchCard(f"The card source '{scheme}:' does not load.", hint="'virtcard doctor' tells why.")
        known = ", ".join(f"{name}:" for name in self.schemes)
        raise NoSuchCard(
            f"No card source is called '{scheme}:'.",
            hint=f"Known are {known}." if known else "Install the one you mean.",
        )

    def open(self, text: str) -> Card:
        """The card behind `text`. May block. CardError for whatever the source raises that is no error of ours."""
        scheme, rest = self.check(text)
        try:
            card = self._sources[scheme].open(rest)
        except VirtcardError:
            raise
        except Exception as error:
            log.exception("the source of %s failed", text)
            raise CardError(f"{text} cannot be opened.", hint=f"The source '{scheme}:' has a fault.") from error
        if not all(callable(getattr(card, call, None)) for call in _CARD_CALLS):
            log.error("the source of %s gave a %s, which is no card", text, type(card).__qualname__)
            raise CardError(f"{text} cannot be opened.", hint=f"What the source '{scheme}:' gives is no card.")
        return card


def split(text: str) -> tuple[str, str]:
    """Scheme and rest of `scheme:rest`; InvalidArgument when it is nothing like that."""
    scheme, colon, rest = text.partition(":")
    if not (scheme and colon and rest):
        raise InvalidArgument(
            f"'{text}' is not a card source.",
            hint="Write reader:GLOB for the card in a host reader, card:NAME for a software card.",
        )
    return scheme, rest


def _precedence(entry: EntryPoint) -> tuple[bool, str, str]:
    return _provider(entry) != OUR_DISTRIBUTION, _provider(entry), entry.value


def _provider(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else ""


def _load(entry: EntryPoint, surroundings: Surroundings) -> Source | BrokenSource:
    """Somebody else's code runs for the first time here: whatever it does, it ends as one broken source."""
    if not _SCHEME.fullmatch(entry.name):
        return BrokenSource(entry.name, _provider(entry), "a scheme has small letters, digits and + . - only")
    try:
        source = _in_time(lambda: entry.load()(surroundings))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is told, and hurts no other source
        return BrokenSource(entry.name, _provider(entry), _reason(error), error)
    if not isinstance(source, Source):
        return BrokenSource(entry.name, _provider(entry), f"it gives a {type(source).__qualname__}, which cannot open")
    return source


def _in_time(load: Callable[[], object]) -> object:
    """On a thread that is given up, since an import that hangs must not keep virtcardd from starting."""
    future: Future[object] = Future()

    def work() -> None:
        try:
            future.set_result(load())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            future.set_exception(error)

    threading.Thread(target=work, name="source-load", daemon=True).start()
    try:
        return future.result(limits.SOURCE_LOAD_PATIENCE)
    except TimeoutError:
        if future.done():
            raise
        raise Failed(f"it did not load within {limits.SOURCE_LOAD_PATIENCE:g} seconds") from None


def _reason(error: BaseException) -> str:
    """The class of an exception and the first line of what it says."""
    said = "".join(character for character in str(error).partition("\n")[0] if character.isprintable())
    if isinstance(error, VirtcardError):
        return said[:_REASON_MAX].rstrip(".")
    return f"{type(error).__qualname__}: {said[:_REASON_MAX]}".rstrip(" .:")
