"""The round trip of a SELECT through a bridge to a trivial card, and through `virtcard connect` to a software card.

A plain echo stands beside them in the same run.

The other side is a process of its own that sends as QEMU does, header and payload by two writes with Nagle on.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from helpers.bench_peer import GREETING, acknowledge  # noqa: E402 (a benchmark runs by itself, too)
from helpers.fake_card import FakeCard  # noqa: E402
from helpers.pki import Authority, lay_out  # noqa: E402
from helpers.soft_cards import wanted  # noqa: E402
from virtcard import limits  # noqa: E402
from virtcard.bridge.effects import Timer  # noqa: E402
from virtcard.bridge.endpoint import Endpoint, Scheme  # noqa: E402
from virtcard.bridge.runner import Bridge, BridgeState  # noqa: E402
from virtcard.bridge.tls import TlsSettings  # noqa: E402
from virtcard.card.soft.make import create_from  # noqa: E402
from virtcard.card.soft.store import Store  # noqa: E402

ROUNDS = 20_000
CARELESS_ROUNDS = 30
"""A client without TCP_NODELAY and TCP_QUICKACK takes 44 ms a round."""
IDLE_BRIDGES = 1000
IDLE_SECONDS = 3.0
DESCRIPTORS = 3 * IDLE_BRIDGES + 100
"""A socket and an eventfd for each bridge, and the other end."""
ANSWER = bytes.fromhex("9000")
MESSAGE = bytes.fromhex("0000000700000000000000029000")
QUESTION_BYTES = 26
CONNECT = """
import sys
from pathlib import Path
from virtcard.bridge.endpoint import parse_endpoint
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.cli.local.foreground import serve
card = SoftSource(Store(Path(sys.argv[2]))).open("piv")
serve(parse_endpoint(sys.argv[1]), card, "card:piv", reconnect=False)
"""
"""What `virtcard connect ENDPOINT card:piv` runs, but for the place of the store, which root cannot choose."""


class TrivialCard(FakeCard):
    """Answers at once, without taking notes."""

    def transmit(self, command: bytes) -> bytes:
        """9000."""
        return ANSWER


def run() -> dict[str, float]:
    """Medians and 99th percentiles in microseconds, and what idle bridges cost in percent of one core."""
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="vc-") as directory:
        for name, measured in {
            "unix_bridge": _measure(f"{directory}/a", None, ROUNDS, _bridge),
            "unix_connect": _measure(f"{directory}/d", None, ROUNDS, _connect),
            "unix_echo": _measure(f"{directory}/b", None, ROUNDS, _echo),
            "tcp_bridge": _measure(None, 0, ROUNDS, _bridge),
            "tls_bridge": _measure(_pki(f"{directory}/pki"), None, ROUNDS, _secured_bridge),
            "tcp_echo": _measure(None, 0, ROUNDS, _echo),
            "tcp_careless_echo": _measure(None, 0, CARELESS_ROUNDS, _careless_echo),
        }.items():
            figures[f"{name}_us"] = measured["median"]
            figures[f"{name}_p99_us"] = measured["p99"]
        figures["unix_connect_ratio"] = figures["unix_connect_us"] / figures["unix_echo_us"]
        return figures | _idle(f"{directory}/c")


Client = Callable[[Endpoint, "subprocess.Popen[str]"], None]


def _measure(path: str | None, port: int | None, rounds: int, client: Client) -> dict[str, float]:
    kind = "tls" if client is _secured_bridge else "unix" if path else "tcp"
    plain = [] if client in (_bridge, _connect, _secured_bridge) else ["plain"]
    with subprocess.Popen(
        [sys.executable, str(TESTS / "helpers/bench_peer.py"), kind, path or str(port), str(rounds), *plain],
        stdout=subprocess.PIPE,
        text=True,
    ) as peer:
        assert peer.stdout is not None
        number = json.loads(peer.stdout.readline())["port"]
        place = Endpoint(Scheme(kind), host="127.0.0.1", port=number)
        client(Endpoint.unix(path) if path and kind == "unix" else place, peer)
        figures: dict[str, float] = json.loads(peer.stdout.readline())
    return figures


def _pki(directory: str) -> str:
    """Certificates for both ends."""
    authority = Authority()
    lay_out(Path(directory), authority, server=authority.issue(), client=authority.issue("client"))
    return directory


def _secured_bridge(endpoint: Endpoint, peer: subprocess.Popen[str]) -> None:
    assert isinstance(peer.args, list)
    _bridge(endpoint, peer, TlsSettings(Path(str(peer.args[3]))))


def _bridge(endpoint: Endpoint, peer: subprocess.Popen[str], tls: TlsSettings | None = None) -> None:
    bridge = Bridge(endpoint, lambda _status: None, reconnect=False, tls=tls)
    bridge.insert(TrivialCard())
    bridge.start()
    peer.wait()
    bridge.stop()
    bridge.join(5)


def _connect(endpoint: Endpoint, peer: subprocess.Popen[str]) -> None:
    """`virtcard connect` in a process of its own, with a PIV card."""
    with TemporaryDirectory(prefix="vc-") as data:
        create_from(Store(Path(data) / "cards"), wanted("piv"), {})
        words = [sys.executable, "-c", CONNECT, f"unix://{endpoint.path}", f"{data}/cards"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            peer.wait()
            child.terminate()


def _echo(endpoint: Endpoint, _peer: subprocess.Popen[str]) -> None:
    """The least that any client must do: receive a whole command, send an answer, and take care of TCP."""
    with _socket(endpoint) as link:
        tcp = link.family != socket.AF_UNIX
        if tcp:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _answer(link, quick_ack=tcp)


def _careless_echo(endpoint: Endpoint, _peer: subprocess.Popen[str]) -> None:
    with _socket(endpoint) as link:
        _answer(link, quick_ack=False)


def _answer(link: socket.socket, *, quick_ack: bool) -> None:
    received = 0
    while True:
        if quick_ack:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data = link.recv(4096)
        if not data:
            return
        received += len(data)
        if received == QUESTION_BYTES:
            received = 0
            link.send(MESSAGE)


def _socket(endpoint: Endpoint) -> socket.socket:
    if endpoint.scheme is Scheme.UNIX:
        link = socket.socket(socket.AF_UNIX)
        link.connect(endpoint.path)
        return link
    return socket.create_connection((endpoint.host, endpoint.port))


def _idle(path: str) -> dict[str, float]:
    """What a thousand bridges with a card in them take while nothing happens."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    memory = _resident()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        bridges, links = zip(*(_start(path, server) for _ in range(IDLE_BRIDGES)), strict=True)
    for _ in range(GREETING):  # one message a round, since a bridge pauses in between
        for link in links:
            acknowledge(link, 1)
    while any(bridge.status.state is not BridgeState.INSERTED for bridge in bridges):
        time.sleep(0.01)
    figures = {
        "idle_1000_bridges_cpu_percent": _cpu_percent(),
        "idle_bridge_kib": (_resident() - memory) / IDLE_BRIDGES,
    }
    for link in links:
        link.close()
    for bridge in bridges:
        bridge.join(5)
    return figures


def _start(path: str, server: socket.socket) -> tuple[Bridge, socket.socket]:
    bridge = Bridge(Endpoint.unix(path), lambda _status: None, reconnect=False, patience={Timer.TRANSMIT: 1.0})
    bridge.insert(TrivialCard())
    bridge.start()
    return bridge, server.accept()[0]


def _cpu_percent() -> float:
    """After the last timeout that was stopped has left the heap."""
    time.sleep(limits.ACK_PATIENCE + 1)
    before, begin = time.process_time(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return 100 * (time.process_time() - before) / (time.monotonic() - begin)


def _resident() -> int:
    """KiB of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<32} {value:12.2f}")
