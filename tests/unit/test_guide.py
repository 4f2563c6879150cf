"""The guide: its commands are ones that virtcard and virsh take, its rules are rules, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import reference
from virtcard.cli.app import VERBS, app
from virtcard.cli.local.policy.group import POLICY_VERBS
from virtcard.cli.run import run

HOUSE = Path(__file__).parents[2]
GUIDE = HOUSE / "contrib/guide"
PAGES = sorted(GUIDE.glob("*.md"))
WRITTEN = [page for page in PAGES if page.name != "dbus.md"]
MENTION = re.compile(r"`((?:sudo )?virtcard [^`]+)`")
ENDS = frozenset({"|", "<", ">", "&&", ";"})


def blocks(page: Path) -> Iterator[str]:
    """The indented blocks of a page, without their indent."""
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", page.read_text(), re.MULTILINE):
        yield re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n")


def commands(text: str, name: str) -> Iterator[list[str]]:
    """The words behind each `name` in lines of a shell, up to a pipe or a redirection."""
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
        lexer.whitespace_split = True
        words = list(lexer)
        for start, word in enumerate(words):
            if word == name and (start == 0 or words[start - 1] in {"sudo", "|"}):
                rest = words[start + 1 :]
                yield rest[: next((index for index, each in enumerate(rest) if each in ENDS), len(rest))]


def shell_blocks(page: Path) -> Iterator[str]:
    return (block for block in blocks(page) if "[[" not in block)


OURS = [(page.name, words) for page in WRITTEN for text in shell_blocks(page) for words in commands(text, "virtcard")]
MENTIONED = [
    words for page in WRITTEN for text in MENTION.findall(page.read_text()) for words in commands(text, "virtcard")
]
"""In sentences, where the rest of a command line may be left out."""
VIRSH = [(page.name, words) for page in WRITTEN for text in shell_blocks(page) for words in commands(text, "virsh")]


def accept(words: list[str]) -> str:
    """Let click parse a command line without running it; the verb. click.UsageError for one that it does not take."""
    command: click.Command = app
    context: click.Context | None = None
    rest = words
    while isinstance(command, click.Group):
        context = command.make_context(command.name or "virtcard", list(rest), parent=context)
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, name
        command = found
    command.make_context(command.name or "", list(rest), parent=context)
    return command.name or ""


@pytest.mark.parametrize(
    ("page", "words"), OURS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_our_commands_are_taken(page: str, words: list[str]) -> None:
    assert accept(words)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_what_writes_files_by_itself_is_not_redirected(page: Path) -> None:
    """The shell makes the file first, which `card export` then finds there and leaves alone."""
    lines = [line for text in shell_blocks(page) for line in text.splitlines()]
    assert [line for line in lines if "card export" in line and ">" in line] == []


def test_a_command_that_is_none_would_be_found() -> None:
    with pytest.raises(click.UsageError):
        accept(["insert", "win11", "card:jane", "--for-ever"])
    with pytest.raises(click.UsageError):
        accept(["card", "melt", "jane"])


def test_there_are_commands_on_every_page_of_tasks() -> None:
    assert {page for page, _ in OURS} >= {page.name for page in WRITTEN} - {"README.md", "security.md"}
    assert {words[0] for _, words in OURS} >= {"enable", "insert", "connect", "listen", "policy", "card", "doctor"}
    assert set(POLICY_VERBS) >= {words[1] for _, words in OURS if words[0] == "policy"}


def test_commands_in_sentences_are_commands() -> None:
    verbs = {next((word for word in words if not word.startswith("-")), "") for words in MENTIONED}
    assert len(verbs) > 5
    assert verbs - {""} <= set(VERBS)


@pytest.mark.parametrize(
    ("page", "words"), VIRSH, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_virshs_commands_are_virshs(page: str, words: list[str]) -> None:
    known = subprocess.run(["virsh", "help", words[0]], check=False, capture_output=True, text=True)
    assert known.returncode == 0, known.stderr
    options = {word for word in words if word.startswith("--")}
    assert all(option in known.stdout for option in options)


def toml_blocks() -> Iterator[tuple[str, str]]:
    for page in WRITTEN:
        for number, block in enumerate(block for block in blocks(page) if "[[" in block):
            yield f"{page.name}-{number}", block


@pytest.mark.parametrize(("name", "text"), list(toml_blocks()))
def test_rules_are_rules(name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "[[expect]]" in text:
        assert {"vm", "card", "action"} <= set(tomllib.loads(text)["expect"][0])
        return
    (tmp_path / "50-guide.toml").write_text(text)
    code = run(["policy", "lint", str(tmp_path)])
    assert (code, capsys.readouterr().err) == (0, "")


def test_the_expectations_of_the_guide_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that the page about policies tests is true of the rules on that page."""
    found = [text for name, text in toml_blocks() if name.startswith("write-a-policy")]
    never = next(text for text in found if "00-never" in text.splitlines()[0])
    office = next(text for text in found if 'vm = "office"' in text and "[[rule]]" in text)
    test = next(text for text in found if "[[expect]]" in text)
    for file, text in (("00-never.toml", never), ("50-office.toml", office), ("office.test.toml", test)):
        (tmp_path / file).write_text(text)
    assert run(["policy", "test", str(tmp_path / "office.test.toml")]) == 0, capsys.readouterr()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text()) if not link.startswith("https://")]
    assert all((page.parent / link).exists() for link in links)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_lines_fit(page: Path) -> None:
    assert [line for line in page.read_text().splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_index_has_every_page() -> None:
    index = (GUIDE / "README.md").read_text()
    assert all(f"]({page.name})" in index for page in PAGES if page.name != "README.md")
    assert "(contrib/guide/README.md)" in (HOUSE / "README.md").read_text()


def test_the_d_bus_reference_is_that_of_the_interfaces() -> None:
    """When it is not: .venv/bin/python contrib/man/reference.py"""
    assert (GUIDE / "dbus.md").read_text() == reference.reference()


def test_the_d_bus_reference_names_every_interface() -> None:
    text = (GUIDE / "dbus.md").read_text()
    assert all(f"\n## {file.stem}\n" in text for file in (HOUSE / "dbus").glob("org.virtcard1.*.xml"))
