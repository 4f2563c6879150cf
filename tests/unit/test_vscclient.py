"""vscclient: its command line, and its conversation with a stand-in for QEMU."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import nss
from helpers.qemu_peer import CARD_REMOVE, READER_REMOVE, QemuPeer
from virtcard.card.soft.nss import NICKNAMES
from virtcard.cli.local.vscclient import main
from virtcard.cli.local.vscclient.arguments import Emulation, SoftReader, UsageError, parse, parse_emulation

THREE = "id-cert,signing-cert,encryption-cert"
MANUAL = f'db="sql:/home/me/card" use_hw=no soft=(,Virtual Reader,CAC,,{THREE})'
SELECT_CCC = bytes.fromhex("00A4040007A000000116DB00")


# The command line.


def test_the_manuals_options_are_one_card_of_three_certificates() -> None:
    assert parse_emulation(MANUAL) == Emulation(
        "sql:/home/me/card", hardware=False, readers=(SoftReader("Virtual Reader", NICKNAMES),)
    )


def test_commas_and_blanks_part_the_words_alike() -> None:
    assert parse_emulation(MANUAL.replace(" use_hw", ",use_hw").replace(" soft", " ,  soft")) == parse_emulation(MANUAL)


def test_soft_may_come_again() -> None:
    found = parse_emulation("soft=(0,One,CAC,,a) soft=(,,CAC,,b,c,)")
    assert found.readers == (SoftReader("One", ("a",)), SoftReader("Virtual Reader", ("b", "c")))


@pytest.mark.parametrize(
    ("text", "hardware"), [("use_hw=no", False), ("use_hw=0", False), ("use_hw=yes", True), ("use_hw=removable", True)]
)
def test_use_hw(text: str, hardware: bool) -> None:
    assert parse_emulation(text).hardware is hardware


@pytest.mark.parametrize(
    ("text", "as_cac"),
    [("nssemul", True), ("passthru", False), ("use_hw=yes hw_type=CAC", True), ("use_hw=yes,hw_type=PASSTHRU", False)],
)
def test_kinds_of_hardware(text: str, as_cac: bool) -> None:
    found = parse_emulation(text)
    assert (found.hardware, found.as_cac) == (True, as_cac)


@pytest.mark.parametrize(
    "text",
    ["db=/unquoted", 'db=""', "hw_type=PIV", "soft=(,a,CAC,)", "soft=(,a,PIV,,b)", "soft=(,a,CAC,,)", "soft=x",
     "else", 'db="a', "soft=(,a,CAC,,b", "nssemul=1", "use_hw", "=", 'db="a"soft=(,a,CAC,,b)'],
)  # fmt: skip
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_emulation(text)


@given(st.text(alphabet=' ,="()dbsoftuse_hwCAC:/0\n', max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with suppress(UsageError):
        parse_emulation(text)


def test_c_names_the_certificates_of_one_card() -> None:
    wanted = parse(["-c", "a", "-c", "b", "127.0.0.1", "2001"])
    assert wanted.emulation == Emulation("/etc/pki/nssdb", readers=(SoftReader("Virtual Reader", ("a", "b")),))
    assert not wanted.uses_hardware


def test_without_options_it_is_the_hosts_card() -> None:
    assert parse(["127.0.0.1", "2001"]).uses_hardware
    assert parse(["-p", "-e", MANUAL, "127.0.0.1", "2001"]).uses_hardware


@pytest.mark.parametrize(
    "words",
    [[], ["host"], ["host", "port"], ["host", "0"], ["host", "65536"], ["a", "1", "b"], ["-x", "host", "1"],
     ["-e", "what=ever", "host", "1"], ["-d", "much", "host", "1"], ["-h"], ["-c"], ["-c", "x"] * 101 + ["host", "1"]],
)  # fmt: skip
def test_a_wrong_command_line_is_exit_code_4(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 4
    assert "usage: vscclient" in capsys.readouterr().err


def test_who_asks_for_help_gets_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: vscclient ")
    assert printed.err == ""


@pytest.mark.parametrize("options", [["-e", f'db="/nowhere" {MANUAL.partition(" ")[2]}'], ["-c", "no-such-cert"]])
def test_a_database_that_is_not_there_is_one_sentence(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "127.0.0.1", "1"]) == 1
    assert "There is no NSS database" in capsys.readouterr().err


# The conversation.


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def peer(port: int) -> Iterator[QemuPeer]:
    peer = QemuPeer(("127.0.0.1", port))
    yield peer
    peer.close()


@contextmanager
def vscclient(port: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    two = f"soft=(,First,CAC,,{THREE}) soft=(,Second,CAC,,signing-cert)"
    words = [sys.executable, "-m", "virtcard.cli.local.vscclient"]
    words += ["-e", f'db="sql:{nss.shared_database()}" use_hw=no {two}', *more, "127.0.0.1", str(port)]
    pipe = subprocess.PIPE
    client = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield client
    finally:
        client.kill()
        client.communicate()


def tell(client: subprocess.Popen[str], words: str) -> None:
    assert client.stdin is not None
    client.stdin.write(f"{words}\n")
    client.stdin.flush()


def hear(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    return client.stdout.readline().rstrip()


def test_nobody_at_the_port_is_exit_code_5(port: int) -> None:
    with vscclient(port) as client:
        assert client.wait(20) == 5


def test_exit_takes_the_card_out_and_leaves_in_order(peer: QemuPeer, port: int) -> None:
    with vscclient(port) as client:
        peer.wait_card()
        assert peer.exchange(SELECT_CCC)[0] in (0x61, 0x90)
        tell(client, "exit")
        assert client.wait(20) == 0
        assert peer.types()[-2:] == [CARD_REMOVE, READER_REMOVE]


def test_the_cards_are_listed_and_exchanged(peer: QemuPeer, port: int) -> None:
    with vscclient(port) as client:
        peer.wait_card()
        assert hear(client) == "First is in the virtual reader."
        tell(client, "list")
        assert [hear(client), hear(client)] == ["*  0 First (in the virtual reader)", "   1 Second (out)"]
        tell(client, "select 1\ninsert")
        assert hear(client) == "Second is in the virtual reader."
        tell(client, "what\nselect 2\n\nremove")
        assert [hear(client)[:9], hear(client)[:9]] == ["Commands:"] * 2
        peer.wait_empty()


def test_the_end_of_standard_input_ends_nothing(peer: QemuPeer, port: int) -> None:
    with vscclient(port) as client:
        assert client.stdin is not None
        client.stdin.close()
        client.stdin = None
        peer.wait_card()
        client.send_signal(signal.SIGTERM)
        assert client.wait(20) == 0


def test_a_qemu_that_goes_away_ends_it(peer: QemuPeer, port: int) -> None:
    with vscclient(port) as client:
        peer.wait_card()
        peer.close()
        assert client.wait(20) == 0
        assert client.stderr is not None
        assert client.stderr.read().startswith("vscclient: ")


def test_reconnect_waits_for_qemu_and_for_its_return(port: int) -> None:
    with vscclient(port, "--reconnect") as client:
        for _ in range(2):
            peer = QemuPeer(("127.0.0.1", port))
            peer.wait_card(30)
            peer.close()
        assert client.poll() is None
