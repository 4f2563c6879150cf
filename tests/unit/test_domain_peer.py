"""Which process may answer on a domain's socket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from virtcard.domain.peer import process_uuid, qemu_pid, verify_peer
from virtcard.errors import PeerError

MINE = UUID("6c5e7a4e-53cb-4d0e-9a1e-0c8a5b0f2d11")
OTHER = UUID("00000000-53cb-4d0e-9a1e-0c8a5b0f2d11")


@contextmanager
def process(*arguments: str) -> Iterator[int]:
    """A process with these arguments, that reads its standard input until it ends."""
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        yield child.pid


def write_pid(directory: Path, name: str, text: str) -> None:
    (directory / f"{name}.pid").write_text(text)


def test_process_of_the_pid_file_is_the_peer(tmp_path: Path) -> None:
    write_pid(tmp_path, "vm", f"{os.getpid()}\n")
    verify_peer(os.getpid(), MINE, "vm", tmp_path)


def test_another_process_than_that_of_the_pid_file_is_refused(tmp_path: Path) -> None:
    write_pid(tmp_path, "vm", "1")
    with pytest.raises(PeerError, match=f"Process {os.getpid()} answers on the socket of vm") as caught:
        verify_peer(os.getpid(), MINE, "vm", tmp_path)
    assert "clone" in caught.value.hint


def test_pid_file_outweighs_the_arguments(tmp_path: Path) -> None:
    write_pid(tmp_path, "vm", "1")
    with process("-uuid", str(MINE)) as pid, pytest.raises(PeerError):
        verify_peer(pid, MINE, "vm", tmp_path)


@pytest.mark.parametrize("directory", [True, False])
def test_uuid_argument_decides_without_a_pid_file(tmp_path: Path, directory: bool) -> None:
    with process("-name", "x", "-uuid", str(MINE), "-display", "none") as pid:
        verify_peer(pid, MINE, "vm", tmp_path if directory else None)
        with pytest.raises(PeerError):
            verify_peer(pid, OTHER, "vm", tmp_path if directory else None)


def test_process_without_a_uuid_is_refused() -> None:
    with pytest.raises(PeerError):
        verify_peer(os.getpid(), MINE, "vm", None)


@pytest.mark.parametrize("pid", [0, -1, 2**30])
def test_process_that_is_not_there_is_refused(pid: int) -> None:
    with pytest.raises(PeerError):
        verify_peer(pid, MINE, "vm", None)


@pytest.mark.parametrize("arguments", [("-uuid",), ("-uuid", "x"), ("-uuid", "\xff"), ("x-uuid", str(MINE))])
def test_odd_arguments_are_no_uuid(arguments: tuple[str, ...]) -> None:
    with process(*arguments) as pid:
        assert process_uuid(pid) is None


@pytest.mark.parametrize("text", ["", "x", "-1", "1 2", "12345678901234567890", "0x10"])
def test_odd_pid_file_is_none(tmp_path: Path, text: str) -> None:
    write_pid(tmp_path, "vm", text)
    assert qemu_pid("vm", tmp_path) is None


def test_name_with_a_slash_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write_pid(tmp_path, "evil", "1")
    assert qemu_pid("sub/../evil", tmp_path) is None
