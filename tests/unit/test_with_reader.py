"""contrib/bundle/with-reader.sh: which machines still need the folder of their sockets, by libvirt's files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers.bus import REPOSITORY

SCRIPT = REPOSITORY / "contrib/bundle/with-reader.sh"
SOCKETS = "/run/virtcard/vm/"
READER = f"<source mode='bind' path='{SOCKETS}0b5cbe4a-6fdd-4d72-8d76-b0f3c7a3a6b2.sock'/>"
MAGIC = b"LibvirtQemudSave" + bytes(76)
"""What a saved machine's file begins with (qemu_saveimage.h)."""


@pytest.fixture
def libvirt(tmp_path: Path) -> Path:
    """libvirt's folders, empty."""
    for folder in ("running", "configurations", "state/save", "state/snapshot"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def found(libvirt: Path) -> list[str]:
    folders = [str(libvirt / name) for name in ("running", "configurations", "state")]
    words = ["dash", "-euc", '. "$1"; shift; with_reader "$@"', "sh", str(SCRIPT), SOCKETS, *folders]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_without_machines_there_is_nothing(libvirt: Path) -> None:
    assert found(libvirt) == []
    assert found(libvirt / "nowhere") == []


def test_one_that_runs_is_named(libvirt: Path) -> None:
    (libvirt / "running/win 11.xml").write_text(f"<domstatus>{READER}</domstatus>")
    (libvirt / "running/other.xml").write_text("<domstatus/>")
    assert found(libvirt) == ["  win 11 (runs)"]


def test_one_whose_configuration_has_a_reader_is_named(libvirt: Path) -> None:
    (libvirt / "configurations/win11.xml").write_text(READER)
    (libvirt / "configurations/networks").mkdir()
    assert found(libvirt) == ["  win11 (configuration)"]


def test_one_that_is_saved_is_named_by_the_xml_before_its_memory(libvirt: Path) -> None:
    (libvirt / "state/save/win11.save").write_bytes(MAGIC + READER.encode() + bytes(4096))
    memory_alone = MAGIC + b"<domain/>" + bytes(1 << 20) + READER.encode()
    (libvirt / "state/save/other.save").write_bytes(memory_alone)
    assert found(libvirt) == ["  win11 (saved)"]


def test_one_with_a_snapshot_is_named(libvirt: Path) -> None:
    (libvirt / "state/snapshot/win11").mkdir()
    (libvirt / "state/snapshot/win11/clean.xml").write_text(READER)
    assert found(libvirt) == ["  clean (snapshot of win11)"]


def test_a_smart_card_that_is_somebody_elses_does_not_count(libvirt: Path) -> None:
    (libvirt / "configurations/win11.xml").write_text("<source mode='bind' path='/run/user/0/card.sock'/>")
    assert found(libvirt) == []
