"""The process virtcardd: how it starts, what it refuses, and how it ends."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.bus import PrivateBus, private_bus
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.pcscd import Pcscd
from helpers.qemu_peer import QemuPeer
from helpers.scripted_card import ScriptedCard
from helpers.virtcardd import ALLOW_ALL, BIN, Virtcardd, session_virtcardd
from helpers.vpcd import Slot
from helpers.waiting import wait_until
from virtcard.names import socket_name

RUN = domain_uuid("run")


@pytest.fixture
def home() -> Iterator[Path]:
    """A short directory for the sockets."""
    with TemporaryDirectory(prefix="vc-") as name:
        yield Path(name)


@pytest.fixture
def bus() -> Iterator[PrivateBus]:
    """A session bus."""
    with private_bus() as private:
        yield private


@pytest.fixture
def environment(home: Path, bus: PrivateBus) -> dict[str, str]:
    """That of the daemon and its clients."""
    return os.environ | {
        "DBUS_SESSION_BUS_ADDRESS": bus.address,
        "XDG_RUNTIME_DIR": str(home),
        "PCSCLITE_CSOCK_NAME": str(home / "no-pcscd"),
    }


@pytest.fixture
def uri(home: Path) -> str:
    """A node with one running domain that has its reader."""
    devices = XHCI + reader_xml(home / "virtcard" / socket_name(RUN))
    node = home / "node.xml"
    node.write_text(f"<node>{domain_xml('run', devices=devices)}</node>")
    return f"test://{node}"


def _refused(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [BIN / "virtcardd", *arguments], check=False, capture_output=True, text=True, env=environment, timeout=30
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--connect", "vbox:///session"),
        ("--connect", "qemu://["),
        ("--connect", "nonsense"),
        ("--socket-dir", "relative/virtcard"),
        ("--socket-dir", "/tmp/elsewhere"),
        ("--socket-dir", f"/{'x' * 90}/virtcard"),
        ("--no-such-option",),
    ],
)
def test_wrong_argument_is_a_sentence_and_exit_code_2(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    code, text = _refused(environment, "--session", *arguments)
    assert code == 2
    assert 1 <= len(text.splitlines()) <= 4


def test_libvirt_of_another_machine_is_refused(environment: dict[str, str]) -> None:
    code, text = _refused(environment, "--session", "--connect", "qemu+ssh://host/system")
    assert code == 1
    assert "Run virtcardd on that machine." in text


def test_without_a_bus_it_says_so(environment: dict[str, str], bus: PrivateBus, uri: str) -> None:
    bus.stop()
    code, text = _refused(environment, "--session", "--connect", uri)
    assert code == 1
    assert text.startswith("virtcardd: ")


def test_sigterm_ejects_in_order_and_ends_with_0(environment: dict[str, str], home: Path, uri: str) -> None:
    with Pcscd() as pcscd, Slot(pcscd.port) as slot:
        slot.plug(ScriptedCard())
        environment["PCSCLITE_CSOCK_NAME"] = str(pcscd.path)
        with session_virtcardd(environment, home, "--connect", uri) as daemon:
            peer = QemuPeer(home / "virtcard" / socket_name(RUN))
            wait_until(lambda: any(reader["present"] for reader in daemon.json("readers")), 10, "the card is seen")
            daemon.virtcard("insert", "run", "reader:Virtual PCD 00 00")
            assert peer.atr is not None
            assert daemon.json("readers")[0]["domains"] == [str(RUN)]
            assert daemon.stop() == 0
            assert peer.types()[-2:] == [6, 4], "CardRemove, then ReaderRemove"
            daemon.start()
            peer.wait_card()
            wait_until(lambda: daemon.json("readers")[0]["domains"] == [str(RUN)], 5, "the reader is in use again")
        peer.close()
    assert "Traceback" not in daemon.log


def test_pcscd_that_goes_and_comes_back_is_told_and_the_card_returns(
    environment: dict[str, str], home: Path, uri: str
) -> None:
    with Pcscd() as pcscd, Slot(pcscd.port) as slot:
        slot.plug(ScriptedCard())
        environment["PCSCLITE_CSOCK_NAME"] = str(pcscd.path)
        with session_virtcardd(environment, home, "--connect", uri) as daemon:
            peer = QemuPeer(home / "virtcard" / socket_name(RUN))
            wait_until(lambda: any(reader["present"] for reader in daemon.json("readers")), 10, "the card is seen")
            daemon.virtcard("insert", "run", "reader:Virtual PCD 00 00")
            pcscd.stop()
            wait_until(lambda: daemon.json("status")["pcsc"] != "connected", 10, "pcscd is told to be away")
            peer.wait_empty()
            pcscd.start()
            wait_until(lambda: daemon.json("status")["pcsc"] == "connected", 15, "pcscd is back")
            peer.wait_card(20)
            assert daemon.json("info", "run")["card"] == "reader:Virtual PCD 00 00"
        peer.close()
    assert "Traceback" not in daemon.log


def test_bus_that_goes_away_ends_it_with_1(environment: dict[str, str], home: Path, bus: PrivateBus, uri: str) -> None:
    daemon = Virtcardd(environment, home, "--session", "--connect", uri)
    daemon.start()
    process = daemon._process
    assert process is not None
    bus.stop()
    assert process.wait(10) == 1
    assert "virtcardd: The bus closed the connection." in daemon.log
    assert "Traceback" not in daemon.log


def test_second_daemon_is_refused_and_touches_nothing(environment: dict[str, str], home: Path, uri: str) -> None:
    with session_virtcardd(environment, home, "--connect", uri) as daemon:
        peer = QemuPeer(home / "virtcard" / socket_name(RUN))
        wait_until(lambda: peer.connections == 1, 10, "the first has its bridge")
        peer.hang_up()
        code, text = _refused(environment, "--session", "--connect", uri)
        assert code == 1
        assert "Another virtcardd owns org.virtcard1" in text
        assert "systemctl --user stop" in text
        wait_until(lambda: peer.connections == 2, 10, "the first has its bridge again")
        assert daemon.json("list")
        peer.close()
        assert daemon.stop() == 0


def test_socket_directory_that_cannot_be_made_is_told(environment: dict[str, str], home: Path, uri: str) -> None:
    (home / "file").touch()
    code, text = _refused(environment, "--session", "--connect", uri, "--socket-dir", str(home / "file/virtcard"))
    assert code == 1
    assert "Cannot make the socket directory" in text


def test_it_may_open_as_many_descriptors_as_it_is_allowed(environment: dict[str, str], uri: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = ["prlimit", f"--nofile=256:{hard}", str(BIN / "virtcardd"), "--session", "--connect", uri]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as daemon:
        try:
            arguments = Path(f"/proc/{daemon.pid}/cmdline")
            wait_until(lambda: b"python" in arguments.read_bytes(), 10, "prlimit became virtcardd")
            wait_until(lambda: resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (hard, hard), 10, "it is raised")
        finally:
            daemon.terminate()


@pytest.fixture
def in_use(environment: dict[str, str], home: Path, uri: str) -> Iterator[tuple[Virtcardd, QemuPeer]]:
    """The domain has the card of a host reader."""
    with Pcscd() as pcscd, Slot(pcscd.port) as slot:
        slot.plug(ScriptedCard())
        environment["PCSCLITE_CSOCK_NAME"] = str(pcscd.path)
        with session_virtcardd(environment, home, "--connect", uri) as daemon:
            peer = QemuPeer(home / "virtcard" / socket_name(RUN))
            wait_until(lambda: any(reader["present"] for reader in daemon.json("readers")), 10, "the card is seen")
            daemon.virtcard("insert", "run", "reader:*")
            yield daemon, peer
            assert "Traceback" not in daemon.log
        peer.close()


DENY = '[[rule]]\naction = "deny"\n'


def test_sighup_reads_the_policy_anew_and_a_denial_ejects(in_use: tuple[Virtcardd, QemuPeer]) -> None:
    daemon, peer = in_use
    daemon.policy(f'[[rule]]\natr = "*"\ncard = "reader:Virtual PCD*"\naction = "deny"\n{DENY}')
    daemon.hang_up()
    peer.wait_empty()
    done = daemon.run("insert", "run", "reader:*")
    assert done.returncode == 5
    assert "virtcard: The policy does not let run have reader:Virtual PCD 00 00." in done.stderr
    assert f"{daemon.policy_file}:1 says so." in done.stderr
    daemon.policy(ALLOW_ALL)
    daemon.hang_up()
    peer.wait_card()


def test_a_bad_policy_is_told_and_the_last_good_one_stays(in_use: tuple[Virtcardd, QemuPeer]) -> None:
    daemon, peer = in_use
    daemon.policy(DENY.replace("deny", "no"))
    daemon.hang_up()
    wait_until(lambda: daemon.json("status")["policy"] == "degraded", 10, "the status says so")
    assert daemon.json("status")["policy_error"] == f"{daemon.policy_file}:2: rule.action: 'no' is not known here."
    assert peer.atr is not None
    daemon.policy(ALLOW_ALL)
    wait_until(lambda: daemon.json("status")["policy"] == "ok", 10, "the change is seen without a signal")


def test_a_policy_that_is_bad_at_the_start_denies_everything(environment: dict[str, str], home: Path, uri: str) -> None:
    daemon = Virtcardd(environment | {"XDG_CONFIG_HOME": str(home / "config")}, home, "--session", "--connect", uri)
    daemon.policy("[[")
    daemon.start()
    try:
        assert daemon.json("status")["policy"] == "broken"
        assert f"{daemon.policy_file}:1: This is not TOML" in daemon.log
    finally:
        assert daemon.stop() == 0
