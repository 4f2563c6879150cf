"""contrib/systemd/install-user.sh --remove: the machines of its user are put back first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from helpers.bus import REPOSITORY

SCRIPT = REPOSITORY / "contrib/systemd/install-user.sh"
INSTALLED = "config/user-tmpfiles.d/virtcard.conf"
PUT_BACK = """#!/bin/sh
echo "$@" >>"$HOME/calls"
[ "$*" = "$WORKS" ] && rm "$XDG_CONFIG_HOME/libvirt/qemu/win11.xml"
"""
"""Stands for virtcard: notes how it was called, and puts the one machine back when it was called so."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a user with virtcard, and one machine with a virtual reader."""
    for folder in ("bin", "run", "config/libvirt/qemu", "config/user-tmpfiles.d"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / INSTALLED).touch()
    socket = tmp_path / "run/virtcard/0b5cbe4a-6fdd-4d72-8d76-b0f3c7a3a6b2.sock"
    (tmp_path / "config/libvirt/qemu/win11.xml").write_text(f"<source mode='bind' path='{socket}'/>")
    (tmp_path / "bin/virtcard").write_text(PUT_BACK)
    (tmp_path / "bin/virtcard").chmod(0o755)
    return tmp_path


def remove(home: Path, works: str = "") -> str:
    """What it says; it always succeeds."""
    places = {
        "HOME": home, "XDG_RUNTIME_DIR": home / "run", "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "data", "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "WORKS": works,
    }  # fmt: skip
    environment = {key: str(value) for key, value in places.items()}
    done = subprocess.run([SCRIPT, "--remove"], check=True, capture_output=True, text=True, env=environment, timeout=20)
    return done.stderr


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text().splitlines()


def test_a_machine_is_put_back_by_virtcardd(home: Path) -> None:
    assert remove(home, "--session disable --all") == ""
    assert calls(home) == ["--session disable --all"]
    assert not (home / INSTALLED).exists()


def test_or_else_by_libvirt_alone(home: Path) -> None:
    assert remove(home, "--session disable --all --offline") == ""
    assert calls(home) == ["--session disable --all", "--session disable --all --offline"]


def test_one_that_cannot_be_put_back_is_named_and_keeps_what_it_needs(home: Path) -> None:
    said = remove(home)
    assert "  win11 (configuration)\n" in said
    assert (home / INSTALLED).exists()


def test_without_virtcard_it_is_named_as_well(home: Path) -> None:
    (home / "bin/virtcard").unlink()
    assert "  win11 (configuration)\n" in remove(home)


def test_without_machines_nobody_is_called(home: Path) -> None:
    (home / "config/libvirt/qemu/win11.xml").unlink()
    assert remove(home) == ""
    assert not (home / "calls").exists()
    assert not (home / INSTALLED).exists()
