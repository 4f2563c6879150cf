"""Card sources by scheme: ours and others', those that load and those that do not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from helpers.plugins import FLOPPY, on_path, plugin
from virtcard import limits
from virtcard.card.base import Card, Surroundings
from virtcard.card.reader_source import ReaderSource
from virtcard.card.reader_watcher import ReaderWatcher
from virtcard.card.soft.source import SYSTEM_DIRECTORY, SoftSource
from virtcard.card.sources import GROUP, BrokenSource, Sources
from virtcard.cli.local.doctor import sources as doctor
from virtcard.cli.local.doctor.check import Result
from virtcard.errors import CardError, InvalidArgument, NoSuchCard, NoSuchReader

OURS = ("card", "reader")
SESSION = Surroundings(True, ReaderWatcher)


class NoReaders:
    """A source that has nothing."""

    def open(self, rest: str) -> Card:
        raise NoSuchReader(f"No reader matches '{rest}'.")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder on sys.path, for packages."""
    with on_path(tmp_path):
        yield tmp_path


def only_broken(sources: Sources) -> BrokenSource:
    """The one that does not serve; ours do."""
    assert set(sources.schemes) >= set(OURS)
    (broken,) = sources.broken
    return broken


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


# Ours.


def test_ours_are_registered_like_a_third_partys() -> None:
    written = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    registered = written["project"]["entry-points"][GROUP]
    assert tuple(sorted(registered)) == OURS
    ours = {
        entry.name: entry.value for entry in entry_points(group=GROUP) if entry.dist and entry.dist.name == "virtcard"
    }
    assert ours == registered


def test_ours_are_made_for_their_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    watcher = ReaderWatcher()
    session = Sources.installed(Surroundings(True, lambda: watcher))._sources
    system = Sources.installed(Surroundings(False, lambda: watcher))._sources
    assert isinstance(session["reader"], ReaderSource)
    assert session["reader"]._watcher is watcher
    assert isinstance(session["card"], SoftSource)
    assert isinstance(system["card"], SoftSource)
    assert session["card"]._store.directory == tmp_path / "virtcard/cards"
    assert system["card"]._store.directory == SYSTEM_DIRECTORY


# Others'.


def test_a_third_partys_source_serves_beside_ours(site: Path) -> None:
    plugin(site, "floppy")
    sources = Sources.installed(SESSION)
    assert sources.schemes == ("card", "floppy", "reader")
    assert sources.broken == ()
    assert sources.open("floppy:a").power_on() == b"\x3b\x01a"


def test_its_own_errors_are_handed_on(site: Path) -> None:
    plugin(site, "floppy")
    with pytest.raises(NoSuchCard, match="no such floppy"):
        Sources.installed(SESSION).open("floppy:none")


@pytest.mark.parametrize("rest", ["broken", "nothing"])
def test_a_fault_in_open_and_what_is_no_card_are_errors_of_the_card(site: Path, rest: str) -> None:
    plugin(site, "floppy")
    with pytest.raises(CardError, match=f"floppy:{rest} cannot be opened"):
        Sources.installed(SESSION).open(f"floppy:{rest}")


BROKEN = {
    "an import that fails": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "an import that ends the process": ("raise SystemExit('bye')", "SystemExit: bye"),
    "a value that is not there": ("", "AttributeError: module 'virtcard_floppy' has no attribute 'Source'"),
    "a factory that fails": ("def Source(surroundings): raise ValueError('no\\ndrive')", "ValueError: no"),
    "a factory that says why": (
        "from virtcard.errors import Failed\ndef Source(surroundings): raise Failed('The drive is away.')",
        "The drive is away",
    ),
    "a factory that is none": ("Source = 5", "TypeError: 'int' object is not callable"),
    "a factory of something else": ("def Source(surroundings): return []", "it gives a list, which cannot open"),
    "a syntax error": ("def", "SyntaxError: invalid syntax (virtcard_floppy.py, line 1)"),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_source_that_fails_to_load_is_named_and_the_others_serve(site: Path, code: str) -> None:
    text, reason = BROKEN[code]
    plugin(site, "floppy", text)
    plugin(site, "tape", FLOPPY)
    sources = Sources.installed(SESSION)
    broken = only_broken(sources)
    assert str(broken) == f"The card source 'floppy:' of virtcard-floppy does not serve: {reason}."
    assert sources.open("tape:b").power_on() == b"\x3b\x01b"
    with pytest.raises(NoSuchCard) as caught:
        sources.check("floppy:a")
    assert "doctor" in caught.value.hint


def test_a_source_that_hangs_while_it_loads_is_given_up(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOURCE_LOAD_PATIENCE", 0.2)
    # In a module of its own name: Python would let the next import of that name wait.
    plugin(site, "floppy", "import threading\nthreading.Event().wait(60)", package="virtcard-hangs")
    assert only_broken(Sources.installed(SESSION)).reason == "it did not load within 0.2 seconds"


@pytest.mark.parametrize("scheme", OURS)
def test_a_third_party_cannot_take_a_scheme_of_ours(site: Path, scheme: str) -> None:
    plugin(site, scheme, package="aaa")
    broken = only_broken(Sources.installed(SESSION))
    assert (broken.scheme, broken.provider, broken.reason) == (scheme, "aaa", "virtcard has this scheme")


def test_of_two_third_parties_the_first_in_the_alphabet_has_the_scheme(site: Path) -> None:
    plugin(site, "floppy", "raise RuntimeError", package="zzz")
    plugin(site, "floppy", package="bbb")
    sources = Sources.installed(SESSION)
    broken = only_broken(sources)
    assert (broken.provider, broken.reason) == ("zzz", "bbb has this scheme")
    assert sources.open("floppy:a").power_on() == b"\x3b\x01a"


def test_a_scheme_whose_owner_is_broken_goes_to_nobody(site: Path) -> None:
    plugin(site, "floppy", "raise RuntimeError", package="bbb")
    plugin(site, "floppy", package="zzz")
    assert Sources.installed(SESSION).schemes == OURS


@pytest.mark.parametrize("scheme", ["Floppy", "fl oppy", "1f", "fl_oppy"])
def test_a_scheme_that_no_wish_could_name_is_refused(site: Path, scheme: str) -> None:
    plugin(site, scheme, package="bbb")
    assert only_broken(Sources.installed(SESSION)).reason.startswith("a scheme has small letters")


def test_one_source_alone_leaves_the_others_code_alone(site: Path) -> None:
    plugin(site, "floppy", f"open({str(site / 'loaded')!r}, 'w')")
    assert Sources.installed(SESSION, only="card").schemes == ("card",)
    assert not (site / "loaded").exists()


# virtcard doctor.


def test_doctor_names_the_sources_that_serve(site: Path) -> None:
    plugin(site, "floppy")
    outcome = doctor.judged(Sources.installed(SESSION))
    assert (outcome.result, outcome.message) == (Result.OK, "The card sources card:, floppy:, reader: serve.")


def test_doctor_warns_of_a_third_partys_source_that_does_not_load(site: Path) -> None:
    plugin(site, "floppy", "raise RuntimeError('no drive')")
    plugin(site, "card", package="aaa")
    outcome = doctor.judged(Sources.installed(SESSION))
    assert outcome.result is Result.WARNING
    assert "'floppy:' of virtcard-floppy does not serve: RuntimeError: no drive." in outcome.message
    assert "'card:' of aaa does not serve: virtcard has this scheme." in outcome.message
    assert outcome.hint == "Repair or remove aaa, virtcard-floppy; the other sources serve."


def test_a_source_of_ours_that_does_not_serve_is_an_error() -> None:
    broken = BrokenSource("reader", "virtcard", "ModuleNotFoundError: No module named 'smartcard'")
    outcome = doctor.judged(Sources({}, [broken]))
    assert outcome.result is Result.ERROR
    assert "'reader:' of virtcard does not serve" in outcome.message
    assert "'card:' is not registered" in outcome.message
