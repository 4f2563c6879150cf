"""`virtcard connect` as a process, between a stand-in for QEMU and a card of ours."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import pytest

from helpers.door import FakeDoor
from helpers.network import free_port
from helpers.pki import Authority, lay_out
from helpers.plugins import on_path, plugin
from helpers.qemu_peer import CARD_REMOVE, READER_REMOVE, QemuPeer
from helpers.tls_socket import TlsSocket
from helpers.waiting import wait_until
from virtcard.bridge.tls import Side
from virtcard.cli.run import run
from virtcard.errors import NoSuchCard

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
    with TemporaryDirectory() as folder:
        yield Path(folder) / "vm.sock"


@pytest.fixture
def peer(place: Path) -> Iterator[QemuPeer]:
    qemu = QemuPeer(place)
    yield qemu
    qemu.close()


@contextmanager
def connecting(place: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    with bringing("connect", *options, f"unix://{place}") as child:
        yield child


@contextmanager
def bringing(*words: str) -> Iterator[subprocess.Popen[str]]:
    words = (sys.executable, "-c", PROGRAM, *words, "reader:Fake*")
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_the_guest_talks_to_the_card(place: Path, peer: QemuPeer) -> None:
    with connecting(place):
        peer.wait_card()
        assert peer.exchange(SELECT) == b"\x90\x00"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_ctrl_c_and_sigterm_take_the_card_out_in_order(
    place: Path, peer: QemuPeer, number: signal.Signals, code: int
) -> None:
    with connecting(place) as child:
        assert child.stdout is not None
        begin = [child.stdout.readline().rstrip() for _ in range(3)]
        child.send_signal(number)
        end, errors = child.communicate(timeout=20)
    assert child.returncode == code
    assert errors == ""
    assert peer.types()[-2:] == [CARD_REMOVE, READER_REMOVE]
    assert begin == [
        f"Looking for the virtual machine at unix://{place}.",
        "The virtual reader is empty.",
        "reader:Fake* is in the virtual reader.",
    ]
    assert end.splitlines() == ["Taking the card out.", "The virtual reader is empty."]


def test_it_waits_for_a_machine_that_is_not_there_yet(place: Path) -> None:
    with connecting(place) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("Looking for")
        qemu = QemuPeer(place)
        qemu.wait_card()
        qemu.close()


def test_it_comes_back_after_qemu_went_away(place: Path, peer: QemuPeer) -> None:
    with connecting(place):
        peer.wait_card()
        peer.hang_up()
        peer.wait_for(lambda: peer.connections == 2, "a second connection")
        peer.wait_card()


def test_without_reconnect_it_ends_when_qemu_goes_away(place: Path, peer: QemuPeer) -> None:
    with connecting(place, "--no-reconnect") as child:
        peer.wait_card()
        peer.hang_up()
        _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")


def test_without_reconnect_an_unreachable_machine_is_exit_code_1(place: Path) -> None:
    with connecting(place, "--no-reconnect") as child:
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    (sentence,) = errors.splitlines()
    assert sentence == f"virtcard: There is no socket at unix://{place} yet."


@pytest.mark.parametrize(
    ("endpoint", "source", "code"),
    [
        ("nonsense", "reader:*", 2),
        ("unix://relative", "reader:*", 2),
        ("tcp://host", "reader:*", 2),
        ("unix:///tmp/x", "Yubico", 2),
        ("unix:///tmp/x", "reader:", 2),
        ("unix:///tmp/x", "floppy:a", 4),
    ],
)
def test_what_cannot_be_meant_is_refused(endpoint: str, source: str, code: int, capsys: Capture) -> None:
    assert run(["connect", endpoint, source]) == code
    sentence, hint = capsys.readouterr().err.splitlines()
    assert sentence.startswith("virtcard: ")
    assert hint.startswith("hint: ")


# Over a network.


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    authority = Authority()
    return lay_out(tmp_path / "pki", authority, server=authority.issue(), client=authority.issue("client"))


def context_of(pki: Path, side: Side) -> ssl.SSLContext:
    """The other end's, with the same files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if side is Side.CLIENT else ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(pki / "ca-cert.pem")
    context.load_cert_chain(pki / f"{side}-cert.pem", pki / f"{side}-key.pem")
    return context


def test_a_card_goes_to_a_machine_over_tls(pki: Path) -> None:
    secure = partial(TlsSocket, context=context_of(pki, Side.SERVER))
    with (
        closing(QemuPeer(("127.0.0.1", 0), secure=secure)) as peer,
        bringing("connect", "--pki", str(pki), f"tls://127.0.0.1:{peer.port}"),
    ):
        peer.wait_card()
        assert peer.exchange(SELECT) == b"\x90\x00"


def test_a_machine_that_calls_over_tls_finds_the_card_again(pki: Path) -> None:
    port = free_port()
    secure = partial(TlsSocket, context=context_of(pki, Side.CLIENT), hostname="localhost")
    with bringing("listen", "--pki", str(pki), f"tls://127.0.0.1:{port}") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == f"Waiting for the virtual machine at tls://127.0.0.1:{port}.\n"
        for _ in range(2):
            with closing(QemuPeer(("127.0.0.1", port), listen=False, secure=secure)) as peer:
                peer.wait_card()
                assert peer.exchange(SELECT) == b"\x90\x00"


def test_who_is_turned_away_is_told_and_the_next_may_come(pki: Path) -> None:
    port = free_port()
    with bringing("listen", "--pki", str(pki), f"tls://127.0.0.1:{port}") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        wait_until(lambda: can_connect(port), 20, "it listens")
        assert "hung up during the TLS handshake." in child.stderr.readline()
        secure = partial(TlsSocket, context=context_of(pki, Side.CLIENT), hostname="localhost")
        with closing(QemuPeer(("127.0.0.1", port), listen=False, secure=secure)) as peer:
            peer.wait_card()


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("verb", ["connect", "listen"])
def test_without_its_files_there_is_no_tls_and_nothing_is_tried(verb: str, tmp_path: Path, capsys: Capture) -> None:
    assert run([verb, "tls://localhost:1", "card:nobody", "--pki", str(tmp_path)]) == 1
    sentence, hint = capsys.readouterr().err.splitlines()
    assert sentence == f"virtcard: {tmp_path / 'ca-cert.pem'} is missing, without which there is no TLS."
    assert "--pki" in hint


@pytest.mark.parametrize("verb", ["connect", "listen"])
@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "0.0.0.0", "vm.example"])
def test_plain_tcp_over_a_network_must_be_meant(verb: str, host: str, capsys: Capture) -> None:
    words = [verb, f"tcp://{host}:7001", "card:nobody"]
    assert run(words) == 2
    assert "carries PINs in clear" in capsys.readouterr().err
    assert run([*words, "--insecure"]) == 4, "there is no such card, and that is asked after the rest"
    warning, hint, complaint, *_ = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: Plain TCP at tcp://{host}:7001 carries PINs in clear")
    assert (hint, complaint[:9]) == ("hint: Use tls://.", "virtcard:")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_plain_tcp_on_the_loopback_device_needs_no_word(host: str, capsys: Capture) -> None:
    assert run(["connect", f"tcp://{host}:7001", "card:nobody"]) == 4
    assert "clear" not in capsys.readouterr().err


def test_peers_are_for_tls(capsys: Capture) -> None:
    assert run(["listen", "tcp://127.0.0.1:7001", "card:nobody", "--peer", "host*"]) == 2
    assert "has no TLS" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--pki", "/nowhere"], ["--tls-hostname", "vm"]])
def test_options_of_tls_are_for_tls(option: list[str], capsys: Capture) -> None:
    assert run(["connect", "tcp://127.0.0.1:7001", "card:nobody", *option]) == 2
    assert "has no TLS" in capsys.readouterr().err


# Sources.


def test_a_source_of_somebody_else_is_found_by_its_entry_point(tmp_path: Path) -> None:
    from virtcard.cli.local.source import opened

    plugin(tmp_path, "floppy")
    with on_path(tmp_path), opened("floppy:a", FakeDoor().choice()) as card:
        assert card.power_on() == b"\x3b\x01a"


@pytest.mark.parametrize(
    ("option", "is_root", "own"),
    [
        ([], True, False),
        ([], False, True),
        (["--session"], True, True),
        (["--system"], False, False),
        (["--connect", "qemu:///session"], True, True),
    ],
)
def test_a_software_card_is_of_the_store_that_an_option_or_else_the_user_says(
    option: list[str], is_root: bool, own: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def stores(*, session: bool) -> NoReturn:
        asked.append(session)
        raise NoSuchCard("There is no card nobody.")

    monkeypatch.setattr("virtcard.card.soft.source.own_store", stores)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    for verb in ("connect", "listen"):
        assert run([*option, verb, f"unix://{tmp_path}/vm.sock", "card:nobody"]) == 4
    assert asked == [own, own]


def test_no_other_source_is_loaded_for_it(tmp_path: Path, capsys: Capture) -> None:
    plugin(tmp_path, "floppy", f"open({str(tmp_path / 'loaded')!r}, 'w')")
    with on_path(tmp_path):
        assert run(["connect", "unix:///tmp/nowhere.sock", "card:nobody"]) == 4
    assert "There is no card nobody" in capsys.readouterr().err
    assert not (tmp_path / "loaded").exists()
