"""Card sources by scheme: `reader:` and whatever else is registered, a third party's like our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from virtcard.card.base import Card, Source
from virtcard.errors import InvalidArgument, NoSuchCard

GROUP = "virtcard.sources"


class Sources:
    """Opens a card from the text `scheme:rest`."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)

    @classmethod
    def installed(cls, given: Mapping[str, Source]) -> Sources:
        """The given ones and every factory registered under the entry-point group `virtcard.sources`."""
        found = {entry.name: _make(entry.load()) for entry in entry_points(group=GROUP) if entry.name not in given}
        return cls({**found, **given})

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes that can be opened."""
        return tuple(sorted(self._sources))

    def check(self, text: str) -> tuple[str, str]:
        """Scheme and rest; InvalidArgument or NoSuchCard with a sentence."""
        scheme, colon, rest = text.partition(":")
        if not colon or not scheme or not rest:
            raise InvalidArgument(
                f"'{text}' is not a card source.",
                hint="Write reader:GLOB for the card in a host reader, card:NAME for a software card.",
            )
        if scheme not in self._sources:
            known = ", ".join(f"{name}:" for name in self.schemes)
            raise NoSuchCard(f"No card source is called '{scheme}:'.", hint=f"Known are {known}.")
        return scheme, rest

    def open(self, text: str) -> Card:
        """The card behind `text`. May block."""
        scheme, rest = self.check(text)
        return self._sources[scheme].open(rest)


def _make(factory: Callable[[], Source]) -> Source:
    return factory()
