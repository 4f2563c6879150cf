"""Tables: aligned by spaces in a pipe, drawn on a terminal, colours only where they are wanted."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

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
    assert "\x1b[32m" not in _on_a_terminal(NO_COLOR="1")


def test_names_are_never_read_as_markup() -> None:
    assert "[bold]x" in _on_a_terminal(NO_COLOR="1")


def _on_a_terminal(**more: str) -> str:
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    subprocess.run(
        [sys.executable, "-c", DRAW],
        check=True,
        stdout=theirs,
        env={**environment, "TERM": "xterm", **more},
        timeout=20,
    )
    shown = os.read(ours, 4096).decode()
    os.close(theirs)
    os.close(ours)
    return shown
