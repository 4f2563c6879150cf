"""`virtcard --version` answers at once, since scripts and package tools ask for it in loops."""

from __future__ import annotations

import subprocess
import sys

import pytest

from virtcard.cli import main
from virtcard.cli.run import run
from virtcard.version import VERSION

HEAVY = {"click", "rich", "dbus_next", "importlib.metadata", "asyncio", "smartcard", "libvirt", "lxml", "json"}
LIST_MODULES = "import sys; from virtcard.cli import main; main(['--version']); print(*sys.modules)"


def test_version_loads_nothing_but_itself() -> None:
    done = subprocess.run([sys.executable, "-c", LIST_MODULES], check=True, capture_output=True, text=True, timeout=20)
    first, modules = done.stdout.splitlines()
    loaded = set(modules.split())
    assert first == f"virtcard {VERSION}"
    assert not HEAVY & loaded
    ours = {name for name in loaded if name.startswith("virtcard")}
    assert ours == {"virtcard", "virtcard.cli", "virtcard.version"}


def test_version_is_the_same_with_other_options_around_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--session", "--version"]) == 0
    assert capsys.readouterr().out == f"virtcard {VERSION}\n"


def test_help_of_a_verb_loads_neither_rich_nor_dbus_next() -> None:
    program = "import sys; from virtcard.cli import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=20)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"rich", "dbus_next", "importlib.metadata", "smartcard", "libvirt", "lxml"} & loaded


def test_the_script_uses_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["virtcard", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"virtcard {VERSION}\n"
