"""How a command ends: exit codes, sentences on stderr, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from helpers.door import FakeDoor, changed
from virtcard.cli.app import VERBS
from virtcard.cli.run import run
from virtcard.errors import (
    Disconnected,
    InvalidArgument,
    NotAuthorized,
    PolicyDenied,
    TimedOut,
    VirtcardError,
)

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Disconnected("x"), 1),
        (InvalidArgument("x"), 2),
        (NotAuthorized("x"), 3),
        (PolicyDenied("x"), 5),
        (TimedOut("x"), 6),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: VirtcardError, code: int) -> None:
    assert run(["enable", "win11"], FakeDoor(answers={"Enable": error}).choice()) == code


def test_an_unknown_domain_is_exit_code_4_with_a_hint(capsys: Capture) -> None:
    assert run(["info", "nobody"], FakeDoor().choice()) == 4
    assert capsys.readouterr().err == "virtcard: There is no domain 'nobody'.\nhint: See 'virtcard list'.\n"


@pytest.mark.parametrize(
    "words",
    [["enabel", "win11"], ["enable"], ["enable", "win11", "--on-existing", "maybe"], ["list", "extra"], ["--colour"]],
)
def test_a_wrong_command_line_is_exit_code_2_with_a_pointer_to_help(words: list[str], capsys: Capture) -> None:
    assert run(words, FakeDoor().choice()) == 2
    sentence, hint = capsys.readouterr().err.splitlines()
    assert sentence.startswith("virtcard: ")
    assert hint.startswith("hint: See 'virtcard")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["statsu"], "There is no verb 'statsu'. Did you mean 'status'?"),
        (["card", "lst"], "There is no verb 'lst'. Did you mean 'list'?"),
        (["frobnicate"], "There is no verb 'frobnicate'."),
        (["list", "foo"], "Got unexpected extra argument (foo)."),
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish."),
        (["eject", "win11", "--slot", "x"], "Invalid value for '--slot': 'x' is not a valid number."),
        (["watch", "--timeout", "x"], "Invalid value for '--timeout': 'x' is not a valid number."),
    ],
)
def test_what_was_mistyped_is_said_in_one_line(words: list[str], sentence: str, capsys: Capture) -> None:
    assert run(words, FakeDoor().choice()) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"virtcard: {sentence}"


@pytest.mark.parametrize("words", [[], ["card"], ["policy"]])
def test_a_group_without_a_verb_shows_its_help_and_is_exit_code_2(words: list[str], capsys: Capture) -> None:
    assert run(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Usage: virtcard ")
    assert "hint" not in printed.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    assert run([verb, "--help"]) == 0
    assert f"virtcard {verb}" in capsys.readouterr().out


def test_help_lists_every_verb_and_every_exit_code(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)
    assert "..." not in printed.split("Commands:")[1], "a summary is too long for its line"
    assert "5 denied by policy" in printed


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    door = FakeDoor()
    monkeypatch.setattr(door, "events", _raise(KeyboardInterrupt))
    assert run(["watch"], door.choice()) == 130
    assert capsys.readouterr().err == ""


def test_a_broken_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    child = _child("run(['list'], FakeDoor().choice())", stdout=writer)
    os.close(writer)
    _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (128 + signal.SIGPIPE, b"")


def test_a_bug_of_ours_is_a_sentence_and_not_a_traceback() -> None:
    _, errors = (child := _child("main(['list'])", before=BREAK)).communicate(timeout=20)
    assert child.returncode == 1
    assert errors.decode().splitlines()[0] == "virtcard: Something went wrong inside virtcard (ZeroDivisionError)."
    assert b"Traceback" not in errors


def test_a_bug_of_ours_shows_its_traceback_on_request() -> None:
    child = _child("main(['list'])", before=BREAK, VIRTCARD_TRACEBACK="1")
    _, errors = child.communicate(timeout=20)
    assert b"Traceback" in errors


def test_a_name_that_the_terminal_cannot_show_is_no_failure() -> None:
    child = _child("main(['list'])", before=RENAMED, stdout=subprocess.PIPE, PYTHONIOENCODING="ascii")
    printed, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, b"")
    assert b"k\\xe4se" in printed


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_caller_closed_is_no_failure(closed: str) -> None:
    command = [sys.executable, "-m", "virtcard.cli", "--help"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], check=False, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_disable_all_reports_success_as_0() -> None:
    assert run(["disable", "--all"], FakeDoor(answers={"Disable": changed()}).choice()) == 0


RENAMED = """
import virtcard.cli.options as options
from helpers.door import WIN11, domain_path
door = FakeDoor()
door.world[domain_path(WIN11)]["org.virtcard1.Domain"]["Name"] = "k\\xe4se"
options.Choice.open = lambda self: door.open()
"""
BREAK = "import virtcard.cli.options as o; o.Choice.open = lambda self: 1 / 0"


def _raise(kind: type[BaseException]) -> Callable[..., None]:
    def raising(*_: object) -> None:
        raise kind

    return raising


def _child(call: str, *, before: str = "", stdout: int = subprocess.DEVNULL, **more: str) -> subprocess.Popen[bytes]:
    program = f"""
import sys
sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})
from helpers.door import FakeDoor
from virtcard.cli import main
from virtcard.cli.run import run
{before}
sys.exit({call})
"""
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **more}
    )


def test_output_that_finds_no_room_is_a_sentence_and_exit_code_1() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "virtcard.cli", "policy", "generate", "--help"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr
        == "virtcard: The output cannot be written: No space left on device.\nhint: Make room, and try again.\n"
    )
