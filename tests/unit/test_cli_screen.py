"""Tables: aligned by spaces in a pipe, drawn on a terminal, colours only where they are wanted."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.door import FakeDoor
from virtcard.cli.columns import widths
from virtcard.cli.run import run
from virtcard.cli.screen import printable, table

DRAW = "from virtcard.cli.screen import table; table(('Name', 'State'), [('[bold]x', 'inserted')])"


def test_columns_align_and_lines_have_no_trailing_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    table(("Name", "State"), [("a", "running"), ("longer", "x")])
    assert capsys.readouterr().out == "Name    State\na       running\nlonger  x\n"


def test_a_table_without_rows_shows_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    table(("Name", "State"), [])
    assert capsys.readouterr().out == "Name  State\n"


def test_control_characters_become_visible() -> None:
    assert printable("a\x1bb\x7f é\n") == "a\\x1bb\\x7f é\n"


def test_a_pipe_loads_no_rich() -> None:
    program = f"import sys; {DRAW}; sys.exit('rich' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=20)


def test_a_terminal_gets_colours() -> None:
    assert "\x1b[32minserted" in _on_a_terminal()


def test_no_color_is_respected() -> None:
    assert "\x1b[32m" not in _on_a_terminal(more={"NO_COLOR": "1"})


def test_names_are_never_read_as_markup() -> None:
    assert "[bold]x" in _on_a_terminal(more={"NO_COLOR": "1"})


FAKE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from helpers.door import FakeDoor
from virtcard.cli.run import run
"""
CELLS = ("a-name-without-any-space", "running", "11111111-2222-3333-4444-555555555555")
THREE = f"from virtcard.cli.screen import table; table(('Name', 'State', 'UUID'), [{CELLS}, {CELLS}])"


def _plain(shown: str) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.splitlines()]


@pytest.mark.parametrize("columns", [43, 60])
def test_a_table_fits_the_terminal_and_nothing_of_it_is_lost(columns: int) -> None:
    cells = CELLS
    shown = _on_a_terminal(THREE.replace(f", {CELLS}])", "])"), columns)
    lines = _plain(shown)
    assert max(map(len, lines)) <= columns
    assert len(lines) > 2
    letters = "".join(line for line in lines[1:]).replace(" ", "")
    assert sorted(letters) == sorted("".join(cells))


def test_a_terminal_too_narrow_for_columns_gets_a_line_for_each_cell() -> None:
    record = [f"Name:   {CELLS[0]}", f"State:  {CELLS[1]}", f"UUID:   {CELLS[2]}"]
    assert _plain(_on_a_terminal(THREE, 42)) == [*record, "", *record]


def test_no_word_is_broken_while_there_is_room_for_words() -> None:
    lines = _plain(_on_a_terminal(f"{FAKE}sys.exit(run(['status'], FakeDoor().choice()))", 80))
    (bridge,) = (line for line in lines if line.startswith("win11"))
    assert "inserted" in bridge
    assert re.search(r"20\d\d-\d\d-\d\d", bridge)
    assert max(map(len, lines)) <= 80


def test_what_is_left_of_a_line_goes_to_who_wants_least() -> None:
    rows = [("Name", "Since", "Card"), ("a", "2026-11-25 18:32:28", "reader:Yubico YubiKey OTP+FIDO+CCID 00 00")]
    assert widths(rows, 80) == [4, 19, 41]
    assert widths(rows, 60) == [4, 19, 33]
    assert widths(rows, 31) == [4, 10, 13]
    assert widths(rows, 30) is None


SPEAK = """
import sys
from virtcard.cli.screen import accented, complain, fields, warn
sys.stderr = sys.stdout
complain("It failed.", "Do this.")
warn("Look out.")
fields([("Reader", "conflict"), ("Name", "ok then")])
print(accented("warning", 8) + "|")
"""


def test_the_words_that_matter_are_coloured_on_a_terminal() -> None:
    assert _on_a_terminal(SPEAK).splitlines() == [
        "\x1b[31mvirtcard:\x1b[0m It failed.",
        "hint: Do this.",
        "\x1b[33mwarning:\x1b[0m Look out.",
        "Reader:  \x1b[31mconflict\x1b[0m",
        "Name:    ok then",
        "\x1b[33mwarning\x1b[0m |",
    ]


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_nothing_is_coloured_for_who_wants_none(more: dict[str, str]) -> None:
    assert "\x1b" not in _on_a_terminal(SPEAK, more=more)


def test_nothing_is_coloured_in_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", SPEAK], check=True, capture_output=True, text=True, timeout=20)
    assert "\x1b" not in done.stdout + done.stderr


# What is waited for.


WAIT = """
import sys, time
from virtcard.cli import busy
busy.AFTER = 0.05
with busy.busy("Somebody [b]may[/b] have to agree."):
    time.sleep({seconds})
"""


def test_what_takes_long_is_told_and_then_wiped_away() -> None:
    shown = _on_a_terminal(WAIT.format(seconds=0.5), 100, both=True)
    assert "Somebody [b]may[/b] have to agree." in shown
    assert shown.rstrip("\r\n").endswith("\x1b[2K"), "the line is erased"


def test_what_is_quick_is_not_told() -> None:
    assert _on_a_terminal(WAIT.replace("0.05", "5").format(seconds=0), both=True) == ""


def test_nothing_moves_on_a_terminal_that_only_prints() -> None:
    assert _on_a_terminal(WAIT.format(seconds=0.3), both=True, more={"TERM": "dumb"}) == ""


def test_an_error_under_way_is_told_after_the_line_is_gone() -> None:
    program = WAIT.format(seconds=0.3) + "    raise SystemExit('failed')"
    shown = _on_a_terminal(program, both=True)
    assert shown.splitlines()[-1].endswith("failed")


# The picture that stays current.


LIVE = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from helpers.door import FakeDoor, WIN11
from virtcard.cli.columns import widths
from virtcard.cli.run import run
from virtcard.names import BRIDGE, bridge_path
class Busy(FakeDoor):
    def events(self, timeout=None):
        time.sleep(min(timeout, 0.1))
        self.world[bridge_path(WIN11, 0)][BRIDGE]["Apdus"] += 100
        return iter(())
sys.exit(run(["watch", "--live", "--timeout", "0.5"], Busy().choice()))
"""


def test_watch_live_counts_the_commands_of_each_machine() -> None:
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in _on_a_terminal(LIVE, 120).splitlines()]
    rows = [line.split() for line in lines if "win11" in line and "reader:Yubico*" in line]
    counts = [int(row[-2]) for row in rows]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2, "each picture has more"
    assert (counts[0], rows[0][-1]) == (12, "-")
    assert float(rows[1][-1]) > 100
    assert any(line.startswith("Yubico YubiKey CCID 00 00") and line.rstrip().endswith("win11") for line in lines)


def test_watch_live_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--live"], FakeDoor().choice()) == 2
    assert "--live needs a terminal" in capsys.readouterr().err
    assert run(["watch", "--live", "--json"], FakeDoor().choice()) == 2
    assert "Give either" in capsys.readouterr().err


def _on_a_terminal(
    program: str = DRAW, columns: int = 80, *, both: bool = False, more: dict[str, str] | None = None
) -> str:
    """What it shows there; with `both` also what it says on stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=theirs,
        stderr=theirs if both else None,
        env={**environment, "TERM": "xterm", **(more or {})},
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # EIO: the other end is closed
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    child.wait(20)
    return shown.decode().replace("\r\n", "\n")
