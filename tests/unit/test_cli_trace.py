"""`virtcard trace`: what it writes, how it ends, and what it says."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from helpers.door import FakeDoor
from helpers.waiting import wait_until
from virtcard.card.trace import Trace
from virtcard.cli.run import run
from virtcard.errors import DomainStateError, NotAuthorized

Capture = pytest.CaptureFixture[str]

SELECT = bytes.fromhex("00A4040005A000000308")


def recorded(commands: int = 2, dropped: int = 0) -> tuple[bytes, bytes]:
    """A capture but for its end, and the end."""
    trace = Trace(lambda command: command, lambda: None)
    for _ in range(commands):
        trace.command(SELECT)
        trace.response(b"\x90\x00")
    trace.dropped = dropped
    return trace.begin("win11") + trace.take(), trace.end()


class Daemon:
    """The other end of a trace: it sends, waits for the reader to end it, and sends the rest."""

    def __init__(self, folder: Path, begin: bytes, end: bytes, *, wait: bool) -> None:
        self.path = folder / "once"
        self._parts = (begin, end)
        self._wait = wait
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self.sent = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        link, _ = self._listener.accept()
        with link, self._listener, suppress(BrokenPipeError):
            link.sendall(self._parts[0])
            self.sent.set()
            if self._wait:
                link.recv(1)
            link.sendall(self._parts[1])


@contextmanager
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vc-") as folder:
        yield Path(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    with short_folder() as short:
        yield short


def door(daemon: Daemon) -> FakeDoor:
    return FakeDoor(answers={"Trace": [str(daemon.path)]})


def test_the_whole_capture_is_in_the_file_and_its_apdus_are_told(folder: Path, capsys: Capture) -> None:
    begin, end = recorded()
    daemon = Daemon(folder, begin, end, wait=False)
    file = folder / "it.pcapng"
    assert run(["trace", "win11", "-o", str(file)], door(daemon).choice()) == 0
    assert file.read_bytes() == begin + end
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"The trace of 'win11' has begun; Ctrl-C ends it.\n2 APDUs of 'win11' are in {file}.\n"


def test_a_file_is_for_its_owner_alone_even_when_it_was_there_before(folder: Path) -> None:
    file = folder / "it.pcapng"
    file.write_text("something that is longer than nothing")
    file.chmod(0o644)
    begin, end = recorded(0)
    assert run(["trace", "win11", "-o", str(file)], door(Daemon(folder, begin, end, wait=False)).choice()) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == begin + end


def test_lost_packets_are_told(folder: Path, capsys: Capture) -> None:
    daemon = Daemon(folder, *recorded(1, dropped=7), wait=False)
    assert run(["trace", "win11", "-o", str(folder / "f")], door(daemon).choice()) == 0
    assert capsys.readouterr().err.splitlines()[1] == (
        f"1 APDU of 'win11' is in {folder / 'f'}; 7 packets came too fast and got lost."
    )


def test_a_daemon_that_dies_leaves_a_capture_of_whole_blocks(folder: Path) -> None:
    begin, _ = recorded()
    daemon = Daemon(folder, begin + begin[:7], b"", wait=False)
    assert run(["trace", "win11", "-o", str(folder / "f")], door(daemon).choice()) == 0
    assert (folder / "f").read_bytes() == begin


_COMMAND = """
import sys
sys.path.insert(0, {tests!r})
from helpers.door import FakeDoor
from virtcard.cli.run import run
sys.exit(run(["trace", "win11", *sys.argv[2:]], FakeDoor(answers={{"Trace": [sys.argv[1]]}}).choice()))
"""


def started(daemon: Daemon, *words: str, out: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    script = _COMMAND.format(tests=str(Path(__file__).parents[1]))
    words = (sys.executable, "-c", script, str(daemon.path), *words)
    return subprocess.Popen(words, stdout=out, stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_fetches_the_rest_and_ends_in_a_sentence(folder: Path, number: int) -> None:
    begin, end = recorded(3)
    daemon = Daemon(folder, begin, end, wait=True)
    file = folder / "f"
    with started(daemon, "-o", str(file)) as process:
        wait_until(lambda: file.exists() and file.read_bytes() == begin, 20, "the capture is on its way")
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 0
    assert told.decode().splitlines()[-1] == f"3 APDUs of 'win11' are in {file}."
    assert file.read_bytes() == begin + end


def test_a_second_ctrl_c_does_not_wait_for_a_daemon_that_hangs(folder: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(folder / "once"))
        listener.listen(1)
        silent = Daemon.__new__(Daemon)
        silent.path = folder / "once"
        with started(silent, "-o", str(folder / "f")) as process:
            link, _ = listener.accept()
            wait_until((folder / "f").exists, 20, "it waits")
            process.send_signal(signal.SIGINT)
            assert link.recv(1) == b""
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
            link.close()
    assert process.returncode == 130


def test_a_pipe_gets_the_capture_and_stderr_the_sentence(folder: Path) -> None:
    begin, end = recorded(1)
    with started(Daemon(folder, begin, end, wait=False), out=subprocess.PIPE) as process:
        written, told = process.communicate(timeout=20)
    assert written == begin + end
    assert told.decode().splitlines()[-1] == "1 APDU of 'win11' is in the capture."


def test_a_program_that_reads_no_more_ends_the_trace(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with started(Daemon(folder, *recorded(1), wait=True), out=write) as process:
        os.close(write)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_terminal_gets_no_capture(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    fake = FakeDoor()
    assert run(["trace", "win11"], fake.choice()) == 2
    assert fake.calls == []
    assert capsys.readouterr().err == (
        "virtcard: A capture is nothing to look at on a terminal.\n"
        "hint: Write a file with -o FILE, or pipe it: virtcard trace win11 | wireshark -k -i -\n"
    )


def test_a_file_that_cannot_be_written_is_one_sentence(folder: Path, capsys: Capture) -> None:
    daemon = Daemon(folder, *recorded(), wait=False)
    assert run(["trace", "win11", "-o", "/nonexistent/f"], door(daemon).choice()) == 1
    sentence, _ = capsys.readouterr().err.splitlines()
    assert sentence == "virtcard: '/nonexistent/f' cannot be written: No such file or directory."


def test_a_socket_that_is_gone_is_one_sentence(folder: Path, capsys: Capture) -> None:
    gone = FakeDoor(answers={"Trace": [str(folder / "gone")]})
    assert run(["trace", "win11", "-o", str(folder / "f")], gone.choice()) == 1
    assert "The trace cannot be fetched: No such file or directory." in capsys.readouterr().err
    assert not (folder / "f").exists()


@pytest.mark.parametrize(
    ("error", "code"), [(NotAuthorized("You are not authorized."), 3), (DomainStateError("It has no bridge."), 1)]
)
def test_a_refusal_leaves_no_file(folder: Path, error: Exception, code: int) -> None:
    fake = FakeDoor(answers={"Trace": error})
    assert run(["trace", "win11", "-o", str(folder / "f")], fake.choice()) == code
    assert not (folder / "f").exists()
