"""Completion: what is offered, and that real shells offer it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from helpers.door import FakeDoor
from helpers.terminal import Terminal, on_terminal
from virtcard.cli import complete
from virtcard.cli.complete import SHELLS, answer, replacement, split_line
from virtcard.cli.run import run
from virtcard.names import CARD

TESTS = Path(__file__).parents[1]
READER = "reader:Yubico YubiKey CCID 00 00"
PROGRAM = f"""#!{sys.executable}
import os, sys
sys.path.insert(0, {str(TESTS)!r})
from helpers.door import FakeDoor
from virtcard.cli.complete import answer
from virtcard.names import CARD
door = FakeDoor()
door.world["/org/virtcard1/card/jane"] = {{CARD: {{"Name": "jane"}}}}
sys.exit(answer(os.environ["_VIRTCARD_COMPLETE"], door.choice()))
"""
Capture = pytest.CaptureFixture[str]


def offered(line: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, door: FakeDoor | None = None) -> list[str]:
    """What bash puts in the place of the last word."""
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(os.fsencode(line))))
    monkeypatch.setenv("COMP_WORDBREAKS", " \t\n\"'><=;|&(:")
    world = door or FakeDoor()
    world.world["/org/virtcard1/card/jane"] = {CARD: {"Name": "jane"}}
    assert answer("bash_complete", world.choice()) == 0
    return [line.partition(",")[2] for line in capsys.readouterr().out.splitlines() if line]


@pytest.fixture(autouse=True)
def _no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' process lives on."""
    monkeypatch.setattr("signal.setitimer", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("virtcard ins", ["insert"]),
        ("virtcard insert ", ["win11", "fedora"]),
        ("virtcard --session info w", ["win11"]),
        ("virtcard insert win11 card", ["card:jane"]),
        ("virtcard insert win11 card:", ["jane"]),
        ("virtcard insert win11 reader:Yu", [r"Yubico\ YubiKey\ CCID\ 00\ 00"]),
        (r"virtcard insert win11 reader:Yubico\ Y", [r"Yubico\ YubiKey\ CCID\ 00\ 00"]),
        ("virtcard insert win11 'reader:Yubico Y", [READER]),
        ('virtcard insert win11 "reader:Y', [READER]),
        ("virtcard connect unix:///tmp/x reader:Y", [r"Yubico\ YubiKey\ CCID\ 00\ 00"]),
        ("virtcard listen tls://h:1 c", ["card:jane"]),
        ("virtcard card show ", ["jane"]),
        ("virtcard policy explain win11 c", ["card:jane"]),
        ("virtcard insert nobody-", []),
        ("virtcard enable win11 --mode h", ["host", "host-certificates"]),
        ("virtcard completion ", list(SHELLS)),
    ],
)
def test_bash_is_offered(line: str, values: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(line, capsys, monkeypatch) == values


def test_a_daemon_that_does_not_answer_offers_nothing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.setenv("COMP_LINE", "virtcard info ")
    monkeypatch.setenv("COMP_POINT", "14")
    assert answer("bash_complete") == 0
    assert capsys.readouterr().out == "\n"


def test_options_say_which_virtcardd_is_asked(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, object]] = []

    def choose(uri: str | None, place: str | None) -> str:
        asked.append((uri, place))
        return "session"

    monkeypatch.setattr(complete, "choose_bus", choose)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    for line in ("virtcard --session info ", "virtcard -c qemu:///session info "):
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        answer("bash_complete")
    assert asked == [(None, "session"), ("qemu:///session", None)]


@pytest.mark.parametrize(
    ("line", "before", "word"),
    [
        ("", "", ""),
        ("virtcard", "", "virtcard"),
        ("virtcard ", "virtcard ", ""),
        ("a b\\ c", "a ", "b\\ c"),
        ("a 'b c", "a ", "'b c"),
        ("a 'b c' d", "a 'b c' ", "d"),
        ("a \"b 'c", "a ", "\"b 'c"),
        ("a 'b\\' c", "a 'b\\' ", "c"),
    ],
)
def test_the_word_under_way_is_found_as_it_was_typed(line: str, before: str, word: str) -> None:
    assert split_line(line) == (before, word)


def test_only_what_is_behind_the_last_colon_is_replaced_where_bash_breaks_words_there() -> None:
    assert replacement("reader:a b", "reader:", ":") == r"a\ b"
    assert replacement("reader:a b", "reader:", "") == r"reader:a\ b"
    assert replacement("reader:a b", "rea", ":") == r"reader:a\ b"
    assert replacement("it's; $x", "", ":") == r"it\'s\;\ \$x"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_verb_prints_a_script_that_the_shell_understands(shell: str, capsys: Capture, tmp_path: Path) -> None:
    assert run(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    subprocess.run([shell, "-n", script], check=True, timeout=20)


def test_another_shell_is_refused(capsys: Capture) -> None:
    assert run(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err


# Real shells.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a command `virtcard` that asks a virtcardd in a dictionary."""
    command = tmp_path / "virtcard"
    command.write_text(PROGRAM)
    command.chmod(0o755)
    return tmp_path


def interactive(folder: Path, *command: str) -> AbstractContextManager[Terminal]:
    """A shell with nothing of this machine's settings."""
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb", "PS1": "ready> ",
        "ZDOTDIR": str(folder), "LANG": "C.UTF-8",
    }  # fmt: skip
    return on_terminal(command, environment, cwd=folder)


SAY = "say() { printf '<%s>' \"$@\"; echo; }"
"""What the command line came to, in place of the command."""


def test_bash_completes_a_reader_with_spaces_and_a_colon(folder: Path, capsys: Capture) -> None:
    run(["completion", "bash"])
    (folder / "script").write_text(capsys.readouterr().out)
    with interactive(folder, "bash", "--norc", "--noprofile", "-i") as shell:
        shell.wait("ready> ")
        shell.type(f"source script; {SAY}; echo loa''ded\n")
        shell.wait("loaded\n")
        shell.type("virtcard insert w\t")
        shell.wait("virtcard insert win11 ")
        shell.type("reader:Y\t")
        shell.wait(r"reader:Yubico\ YubiKey\ CCID\ 00\ 00 ")
        shell.type("\x01say \n")
        shell.wait(f"<virtcard><insert><win11><{READER}>")


def test_zsh_completes_a_reader_with_spaces_and_a_colon(folder: Path, capsys: Capture) -> None:
    run(["completion", "zsh"])
    functions = folder / "functions"
    functions.mkdir()
    (functions / "_virtcard").write_text(capsys.readouterr().out)
    with interactive(folder, "zsh", "-f", "-i") as shell:
        shell.type(
            "PS1='ready> '; fpath=(functions $fpath); autoload -U compinit; compinit -u -D; unset zle_bracketed_paste\n"
        )
        shell.type(f"{SAY}; echo loa''ded\n")
        shell.wait("loaded\n")
        shell.type("virtcard insert w\t")
        shell.wait("win11 ")
        shell.type("reader:Y\t")
        shell.wait("00")
        shell.type("\x01say \n")
        shell.wait(f"<virtcard><insert><win11><{READER}>")


def test_fish_is_offered_names_with_their_states(folder: Path, capsys: Capture) -> None:
    run(["completion", "fish"])
    (folder / "script").write_text(capsys.readouterr().out)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}

    def offers(line: str) -> list[str]:
        command = ["fish", "--no-config", "-c", f"source script; complete -C '{line}'"]
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.splitlines()

    assert offers("virtcard insert ") == ["fedora\tshut off", "win11\trunning"]
    assert sorted(offers("virtcard insert win11 ")) == ["card:jane", READER]
    assert [line.partition("\t")[0] for line in offers("virtcard card sho")] == ["show"]
