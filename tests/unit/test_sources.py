"""Card sources by scheme."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from virtcard.card.base import Card
from virtcard.errors import InvalidArgument, NoSuchCard, NoSuchReader
from virtcard.service.sources import GROUP, Sources


class NoReaders:
    """A source that has nothing."""

    def open(self, rest: str) -> Card:
        raise NoSuchReader(f"No reader matches '{rest}'.")


def test_the_scheme_chooses_the_source() -> None:
    with pytest.raises(NoSuchReader, match=r"Yubico\*"):
        Sources({"reader": NoReaders()}).open("reader:Yubico*")


@pytest.mark.parametrize("text", ["", "reader", "reader:", ":x"])
def test_a_text_without_scheme_or_rest_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Sources({"reader": NoReaders()}).check(text)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(NoSuchCard) as caught:
        Sources({"reader": NoReaders()}).check("cloud:x")
    assert "reader:" in caught.value.hint


def test_a_colon_in_the_rest_belongs_to_it() -> None:
    assert Sources({"reader": NoReaders()}).check("reader:a:b") == ("reader", "a:b")


def test_given_sources_win_over_installed_ones() -> None:
    given = NoReaders()
    sources = Sources.installed({"reader": given})
    installed = {entry.name for entry in entry_points(group=GROUP)}
    assert installed <= set(sources.schemes)
    with pytest.raises(NoSuchReader):
        sources.open("reader:x")
