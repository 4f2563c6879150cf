"""The man pages: built of what they tell of, whole, and clean to mandoc and groff."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

import man_pages as source
from roff import Page, escape, filled, inline
from virtcard.cli.app import VERBS, app
from virtcard.cli.local.card.group import CARD_VERBS
from virtcard.policy.keys import KEYS

HOUSE = Path(__file__).parents[2]
NAMES = ("man1/virtcard.1", "man5/virtcard-policy.5", "man5/org.virtcard1.5", "man8/virtcardd.8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    command: list[str | Path] = [sys.executable, HOUSE / "contrib/man/manual.py", folder]
    subprocess.run(command, check=True, env={"SOURCE_DATE_EPOCH": "1700000000"}, timeout=60)
    return folder


def shown(page: Path) -> str:
    """What a person reads."""
    command: list[str | Path] = ["man", "-l", page]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60,
        env={"MANWIDTH": "200", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANROFFOPT": "-c", "TERM": "dumb"},
    )  # fmt: skip
    return re.sub(r".\x08", "", done.stdout)


def test_there_are_four(built: Path) -> None:
    assert sorted(str(path.relative_to(built)) for path in built.rglob("*.?")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_nothing_to_say(built: Path, name: str) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", built / name], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", NAMES)
def test_groff_has_nothing_to_say(built: Path, name: str) -> None:
    command: list[str | Path] = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", built / name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert done.stderr == ""


def test_every_verb_is_there_with_every_option(built: Path) -> None:
    text = shown(built / "man1/virtcard.1")
    for verb in VERBS:
        command = app.get_command(click.Context(app), verb)
        assert isinstance(command, click.Group) or f"virtcard {verb} " in text
        for parameter in command.params if command else ():
            assert all(option in text for option in parameter.opts if isinstance(parameter, click.Option))
    assert all(f"virtcard card {verb} " in text for verb in CARD_VERBS)
    assert "5 denied by policy" in text
    assert "several files called" in text, "what a group of verbs says of all of them"
    assert "Show this message" not in text


@pytest.mark.parametrize("name", NAMES)
def test_no_mark_of_markdown_is_left(built: Path, name: str) -> None:
    assert "**" not in shown(built / name)


def test_every_key_of_a_rule_is_there(built: Path) -> None:
    text = shown(built / "man5/virtcard-policy.5")
    assert [key for key in KEYS if not re.search(rf"^ +{key}( |$)", text, re.MULTILINE)] == []
    assert "without it: 1." in text


def test_every_member_on_the_bus_is_there(built: Path) -> None:
    text = shown(built / "man5/org.virtcard1.5")
    for path in (HOUSE / "dbus").glob("org.virtcard1.*.xml"):
        interface = ElementTree.parse(path).getroot().find("interface")
        assert interface is not None
        assert str(interface.get("name")).upper() in text
        members = [each for each in interface if each.tag in ("method", "signal", "property")]
        assert [each.get("name") for each in members if f"{each.tag} {each.get('name')}" not in text] == []
    assert "method Insert (s source, a{sv} options) -> (o bridge)" in text


def test_the_daemons_page_has_its_options_and_signals(built: Path) -> None:
    text = shown(built / "man8/virtcardd.8")
    assert all(word in text for word in ("--session", "--metrics", "SIGHUP", "/etc/virtcard/policy.d"))


def test_the_same_source_gives_the_same_bytes(built: Path) -> None:
    assert source.pages("2023-11-14")["virtcard.1"] == (built / "man1/virtcard.1").read_text()


# The writer.


def test_nothing_in_a_text_is_a_macro_or_an_escape() -> None:
    assert escape("a\\b-c") == "a\\eb\\-c"
    assert filled(".TH and more. 'Quoted' too.") == ["\\&.TH and more.", "\\&'Quoted' too."]


def test_marks_become_bold_and_links_their_text() -> None:
    assert inline("`a-b` and **c** at [d](e)") == "\\fBa\\-b\\fR and \\fBc\\fR at d"


def test_blocks_of_markdown() -> None:
    page = Page("x", 1, "what", date="2000-01-01", source="x 1")
    page.section("One")
    page.markdown(
        "Text\nof two lines.\n\n    code  \n    .more\n\n| | a | b |\n|---|---|---|\n| `t` | 1 | |\n\n- x\n  y\n- z\n"
    )
    assert str(page).split('.SH "ONE"\n')[1].split("\n") == [
        "Text of two lines.", ".PP", ".nf", ".RS 4", "code", "\\&.more", ".RE", ".fi", ".TP", "\\fBt\\fR", "a: 1.",
        ".IP \\(bu 2", "x y", ".IP \\(bu 2", "z", "",
    ]  # fmt: skip
