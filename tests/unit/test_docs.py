"""The documents say what is so: verbs, JSON keys, exit codes, rooms, links, and where the version stands."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePath

import pytest

from virtcard import errors
from virtcard.cli import shapes
from virtcard.cli.advice import Problem
from virtcard.cli.app import VERBS
from virtcard.cli.local.card.shapes import Key, SoftCard
from virtcard.cli.local.doctor.verb import Report
from virtcard.cli.records import Entry
from virtcard.names import WISH_NAMESPACE
from virtcard.policy.keys import KEYS
from virtcard.version import VERSION

HOUSE = Path(__file__).parents[2]
README = (HOUSE / "README.md").read_text()
ARCHITECTURE = (HOUSE / "ARCHITECTURE.md").read_text()
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")

SHAPES: dict[str, type] = {
    "list": shapes.Domain,
    "info": shapes.Bridge,
    "readers": shapes.Reader,
    "status": shapes.Status,
    "grants": shapes.Grant,
    "doctor": Report,
    "watch": shapes.Change,
    "log": Entry,
    "card list": SoftCard,
    "card show": Key,
}


def row(verb: str) -> str:
    """The README's line about the JSON of a verb."""
    table = README.split("**JSON.**")[1].split("**Exit codes.**")[0]
    return next(line for line in table.splitlines() if line.startswith(f"| `{verb}` |"))


@pytest.mark.parametrize("verb", SHAPES)
def test_the_readme_lists_the_json_keys_of_every_reading_verb(verb: str) -> None:
    assert " ".join(SHAPES[verb].__annotations__) in row(verb)


def test_the_readme_lists_every_key_of_a_rule() -> None:
    table = README.split("## Policy")[1].split("## The command")[0]
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == sorted(KEYS)


def test_the_readme_lists_the_keys_of_findings() -> None:
    assert f"`{' '.join(shapes.Finding.__annotations__)}`" in row("info")


def test_the_readme_lists_the_keys_of_problems() -> None:
    assert f"`{' '.join(Problem.__annotations__)}`" in row("status")


@pytest.mark.parametrize("verb", VERBS)
def test_the_readme_knows_every_verb(verb: str) -> None:
    table = README.split("## The command")[1].split("**Which virtcardd.**")[0]
    assert f"`{verb}" in table


def test_the_readme_knows_every_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")]
    codes = README.split("**Exit codes.**")[1].split("\n\n")[0]
    assert all(f" {kind.exit_code} " in codes for kind in kinds)


def test_the_readme_spells_the_namespace_of_the_wish() -> None:
    assert f"--uri {WISH_NAMESPACE} --key virtcard" in README


def test_the_readme_names_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    named = {target for name in DOCUMENTS for target in re.findall(r"make (\w+) +#", (HOUSE / name).read_text())}
    assert named
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (HOUSE / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert all((HOUSE / link).exists() for link in links)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_fit(document: str) -> None:
    lines = (HOUSE / document).read_text().splitlines()
    assert all(len(line) <= 120 or line.startswith("|") for line in lines)


def test_every_room_of_the_architecture_is_there_and_no_other() -> None:
    drawn = ARCHITECTURE.split("    plugin/virtcard/\n")[1].split("    tests/")[0]
    rooms = set(re.findall(r"^      (\w+)/ ", drawn, re.MULTILINE))
    here = {path.name for path in (HOUSE / "plugin" / "virtcard").iterdir() if path.is_dir()} - {"__pycache__"}
    assert rooms == here


def drawn_rooms() -> dict[str, set[str]]:
    """The folders of the drawing below plugin/virtcard, and the modules that each names."""
    drawing = ARCHITECTURE.split("    plugin/virtcard/\n")[1].split("    tests/")[0]
    found: dict[str, set[str]] = {"": set()}
    above = [(4, "")]
    for line in drawing.splitlines():
        indent = len(line) - len(line.lstrip())
        while above[-1][0] >= indent:
            above.pop()
        folder = above[-1][1]
        if room := re.match(r" *(\w+)/ ", line):
            folder = f"{folder}/{room[1]}".removeprefix("/")
            above.append((indent, folder))
        found.setdefault(folder, set()).update(re.findall(r"[\w*]+\.py", line))
    return found


def modules_by_folder() -> dict[str, set[str]]:
    """What there is; "__init__.py" needs no name."""
    root = HOUSE / "plugin/virtcard"
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        folder = str(path.parent.relative_to(root)).removeprefix(".")
        found.setdefault(folder, set()).add(path.name)
    return {folder: names - {"__init__.py"} for folder, names in found.items()}


@pytest.mark.parametrize("folder", sorted(modules_by_folder()))
def test_each_module_stands_in_its_room_of_the_architecture(folder: str) -> None:
    """A room that is drawn without modules is one for all that is in it and below."""
    rooms, here = drawn_rooms(), modules_by_folder()[folder]
    room = next(each for each in (folder, *map(str, PurePath(folder).parents)) if each in rooms)
    named = rooms[room]
    assert room == folder or not named
    assert [name for name in sorted(here) if named and not any(fnmatch(name, each) for each in named)] == []
    assert [each for each in named if not any(fnmatch(name, each) for name in {*here, "__init__.py"})] == []


def test_every_module_that_the_architecture_names_exists() -> None:
    places = [(HOUSE / "plugin").rglob("*.py"), (HOUSE / "contrib/gnome-shell").rglob("*.*")]
    places += [(HOUSE / "contrib/gtk").rglob("*.py"), (HOUSE / "tests/helpers").glob("gtk_*.py")]
    every = {path.name for place in places for path in place} | {"test_imports.py"}
    named = {name.rpartition("/")[2] for name in re.findall(r"[\w/]+\.(?:py|js)\b", ARCHITECTURE)}
    assert named
    assert named <= every


def test_the_changelog_has_a_place_for_this_version() -> None:
    changelog = (HOUSE / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog
    assert VERSION in changelog
