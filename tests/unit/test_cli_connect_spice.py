"""`virtcard connect spice://...` as a process, between a stand-in for a SPICE server and a card of ours."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.pki import Authority
from helpers.spice_server import CARD_REMOVE, READER_REMOVE, SpiceServer
from virtcard.cli.run import run

Capture = pytest.CaptureFixture[str]

SELECT = bytes.fromhex("00A4040000")
PROGRAM = f"""
import sys
from contextlib import nullcontext
sys.path.insert(0, {os.path.dirname(os.path.dirname(__file__))!r})
from helpers.fake_card import FakeCard
import virtcard.cli.local.source as source
source.opened = lambda text, choice: nullcontext(FakeCard())
from virtcard.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A socket path that is short enough."""
    with TemporaryDirectory(prefix="vc-") as folder:
        yield Path(folder) / "s"


@pytest.fixture
def server(place: Path) -> Iterator[SpiceServer]:
    server = SpiceServer(place, password=b"a ticket")
    yield server
    server.close()
    assert server.fatal == []


@contextmanager
def connecting(place: Path, *options: str, stdin: int | None = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", PROGRAM, "connect", *options, f"spice+unix://{place}", "reader:Fake*"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=stdin, stdout=pipe, stderr=pipe, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def wait_prompt(child: subprocess.Popen[str]) -> None:
    """Python forgets what was typed before it asked."""
    assert child.stderr is not None
    said = ""
    while not said.endswith("SPICE password: "):
        letter = child.stderr.read(1)
        assert letter, said
        said += letter


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text("a ticket\n")
    return str(file)


def test_the_guest_talks_to_the_card_and_ctrl_c_takes_it_out(
    place: Path, server: SpiceServer, password_file: str
) -> None:
    with connecting(place, "--take-over", "--password-file", password_file) as child:
        server.wait_card()
        assert server.exchange(SELECT) == b"\x90\x00"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (130, "")
    assert server.kinds[-2:] == [CARD_REMOVE, READER_REMOVE]


def test_a_wrong_password_is_a_sentence_with_a_hint(place: Path, server: SpiceServer, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("another\n")
    with connecting(place, "--take-over", "--password-file", str(tmp_path / "wrong")) as child:
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    assert errors.splitlines()[-2:] == [
        f"virtcard: spice+unix://{place} does not accept the password.",
        "hint: It may be wrong, not set yet, or its time may be over.",
    ]


def test_without_a_file_the_password_is_asked_for_when_it_is_wanted(place: Path, server: SpiceServer) -> None:
    terminal, inner = pty.openpty()
    with connecting(place, "--take-over", stdin=inner) as child:
        os.close(inner)
        for password in (b"another\n", b"a ticket\n"):
            wait_prompt(child)
            os.write(terminal, password)
        server.wait_card()
    os.close(terminal)


def test_a_server_without_a_password_asks_for_none(place: Path, server: SpiceServer) -> None:
    server.password = b""
    with connecting(place, "--take-over"):
        server.wait_card()


def test_who_cannot_look_is_told_what_to_say(place: Path, server: SpiceServer, password_file: str) -> None:
    server.viewer_comes(2)
    with connecting(place, "--password-file", password_file) as child:
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "would throw it out" in errors
    assert "--take-over" in errors
    assert server.thrown_out == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tcp://127.0.0.1:1", "--qmp", "/x"], "is no SPICE server"),
        (["unix:///x", "--take-over"], "is no SPICE server"),
        (["spice://127.0.0.1:1", "--ca-file", "/x"], "has no TLS"),
        (["spice+unix:///x", "--host-subject", "CN=a"], "has no TLS"),
        (["spice+tls://127.0.0.1:1", "--host-subject", "nonsense"], "is no subject"),
        (["spice://10.0.0.7:5900"], "carries PINs in clear"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], sentence: str, capsys: Capture) -> None:
    assert run(["connect", *words, "reader:*"]) == 2
    said, hint = capsys.readouterr().err.splitlines()
    assert sentence in said
    assert hint.startswith("hint: ")


def test_a_password_that_no_server_can_have_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "password").write_text("x" * 61)
    assert run(["connect", "spice+unix:///x", "reader:*", "--password-file", str(tmp_path / "password")]) == 2
    assert "at most 60 bytes" in capsys.readouterr().err


def test_a_missing_authority_is_told_before_anything_happens(tmp_path: Path, capsys: Capture) -> None:
    words = ["connect", "spice+tls://127.0.0.1:1", "reader:*", "--ca-file", str(tmp_path / "none.pem")]
    assert run(words) == 1
    assert "none.pem is missing" in capsys.readouterr().err


def test_the_authority_may_be_any_file(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(Authority().certificate_pem())
    assert run(["connect", "spice+tls://127.0.0.1:1", "floppy:a", "--ca-file", str(file)]) == 4
    capsys.readouterr()


def test_two_ways_to_one_monitor_are_one_too_many(capsys: Capture) -> None:
    assert run(["connect", "spice+unix:///x", "reader:*", "--qmp", "/a", "--domain", "b"]) == 2
    assert "two ways to the same monitor" in capsys.readouterr().err
