"""Sockets: dialling, listening, and what a link does with a peer that reads slowly."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.waiting import wait_until
from virtcard import limits
from virtcard.bridge.attempt import dial
from virtcard.bridge.dial import Calling, Dial, Waiting
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.link import Line, Link
from virtcard.bridge.poller import Poller, Wakeup
from virtcard.errors import Disconnected, PeerError


def proceed(attempt: Dial) -> Line:
    """Poll and proceed until the link stands."""
    while True:
        poll = select.poll()
        poll.register(attempt.fileno(), attempt.events)
        assert poll.poll(5000)
        link = attempt.proceed()
        if link is not None:
            return link


def listener(path: Path) -> socket.socket:
    """A listening unix socket."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)
    return server


@pytest.fixture
def pair() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    link = Link(ours)
    yield link, theirs
    link.close()
    theirs.close()


# Dialling.


def test_missing_socket_is_said_to_be_not_there_yet(socket_path: Path) -> None:
    with pytest.raises(Disconnected, match=r"no socket at unix:///.* yet"):
        dial(Endpoint.unix(str(socket_path)))


def test_stale_socket_is_left_alone(socket_path: Path) -> None:
    listener(socket_path).close()
    with pytest.raises(Disconnected, match="Nobody listens"):
        dial(Endpoint.unix(str(socket_path)))
    assert socket_path.exists()


def test_socket_whose_queue_is_full_is_busy(socket_path: Path) -> None:
    with listener(socket_path) as server:
        server.listen(0)
        waiting = dial(Endpoint.unix(str(socket_path)))
        with pytest.raises(Disconnected, match="busy with another client"):
            dial(Endpoint.unix(str(socket_path)))
        waiting.close()


def test_ordinary_file_in_place_of_a_socket(socket_path: Path) -> None:
    socket_path.touch()
    with pytest.raises(Disconnected):
        dial(Endpoint.unix(str(socket_path)))


def test_closed_tcp_port(unused_port: int) -> None:
    with pytest.raises(Disconnected, match=r"Nobody listens at tcp://127\.0\.0\.1"):
        proceed(dial(Endpoint(Scheme.TCP, host="127.0.0.1", port=unused_port)))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_host_that_does_not_exist(host: str) -> None:
    with pytest.raises(Disconnected, match="cannot be reached"):
        dial(Endpoint(Scheme.TCP, host=host, port=1))


def test_tcp_link_has_no_delays(unused_port: int) -> None:
    with socket.create_server(("127.0.0.1", unused_port)):
        link = proceed(dial(Endpoint(Scheme.TCP, host="127.0.0.1", port=unused_port)))
        with socket.socket(fileno=os.dup(link.fileno())) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert link.peer_pid() is None
        link.close()


def test_call_that_meets_itself_is_refused(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    """On loopback a call to a free port of the ephemeral range can be answered by its own socket."""
    with socket.socket() as alone:
        alone.bind(("127.0.0.1", unused_port))
        alone.setblocking(True)
        alone.connect(("127.0.0.1", unused_port))
        attempt = Calling.__new__(Calling)
        attempt._endpoint = Endpoint(Scheme.TCP, host="127.0.0.1", port=unused_port)
        attempt._targets = []
        attempt._sock = alone
        with pytest.raises(Disconnected, match="Nobody listens"):
            attempt.proceed()


# Listening.


def test_listening_socket_is_open_to_owner_and_group(socket_path: Path) -> None:
    attempt = dial(Endpoint.unix(str(socket_path), listen=True))
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660
    attempt.close()
    assert not socket_path.exists()


def test_listening_takes_the_place_of_a_stale_socket(socket_path: Path) -> None:
    listener(socket_path).close()
    attempt = dial(Endpoint.unix(str(socket_path), listen=True))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(socket_path))
        link = proceed(attempt)
        assert link.peer_pid() == os.getpid()
        link.close()
    assert not socket_path.exists()


def test_listening_does_not_take_a_socket_that_is_in_use(socket_path: Path) -> None:
    with listener(socket_path), pytest.raises(Disconnected, match="already in use"):
        dial(Endpoint.unix(str(socket_path), listen=True))
    assert socket_path.exists()


def test_listening_does_not_remove_an_ordinary_file(socket_path: Path) -> None:
    socket_path.write_text("precious")
    with pytest.raises(Disconnected, match="already in use"):
        dial(Endpoint.unix(str(socket_path), listen=True))
    assert socket_path.read_text() == "precious"


def test_listening_in_a_missing_directory() -> None:
    with pytest.raises(Disconnected):
        dial(Endpoint.unix("/nonexistent/directory/s", listen=True))


def test_only_one_peer_is_taken(socket_path: Path) -> None:
    attempt = dial(Endpoint.unix(str(socket_path), listen=True))
    assert isinstance(attempt, Waiting)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(str(socket_path))
        link = proceed(attempt)
        with pytest.raises(FileNotFoundError):
            second.connect(str(socket_path))
        link.close()


# Links.


def test_nothing_to_receive_is_none_and_the_end_is_empty(pair: tuple[Link, socket.socket]) -> None:
    link, peer = pair
    assert link.receive() is None
    peer.send(b"abc")
    assert link.receive() == b"abc"
    peer.shutdown(socket.SHUT_WR)
    assert link.receive() == b""


def test_what_does_not_fit_is_kept_and_sent_later(pair: tuple[Link, socket.socket]) -> None:
    link, peer = pair
    block = os.urandom(64 * 1024)
    sent = b""
    while link.events == select.POLLIN:
        link.send(block)
        sent += block
    received = b""
    while len(received) < len(sent):
        received += peer.recv(65536)
        link.flush()
    assert received == sent
    assert link.events == select.POLLIN


def test_buffer_is_bounded(pair: tuple[Link, socket.socket]) -> None:
    link, _ = pair
    link.send(bytes(limits.SEND_BUFFER_MAX))
    with pytest.raises(PeerError, match="does not read"):
        link.send(bytes(limits.SEND_BUFFER_MAX))


def test_sending_to_a_peer_that_is_gone_is_silent(pair: tuple[Link, socket.socket]) -> None:
    link, peer = pair
    peer.close()
    link.send(b"abc")
    link.send(b"abc")
    assert link.receive() == b""


def test_close_ends_the_connection_even_when_another_process_holds_the_socket(
    pair: tuple[Link, socket.socket],
) -> None:
    """shutdown() acts on the connection, close() only on our descriptor."""
    link, peer = pair
    copy = os.dup(link.fileno())
    link.close()
    assert peer.recv(1) == b""
    os.close(copy)


# Polling.


def test_poller_tells_a_socket_from_a_wakeup() -> None:
    wakeup = Wakeup()
    ours, theirs = socket.socketpair()
    poller = Poller(wakeup)
    wakeup.wake()
    wakeup.wake()
    assert poller.wait(ours.fileno(), select.POLLIN) == 0
    theirs.send(b"a")
    assert poller.wait(ours.fileno(), select.POLLIN) == select.POLLIN
    assert poller.wait(ours.fileno(), select.POLLIN | select.POLLOUT) == select.POLLIN | select.POLLOUT
    wakeup.wake()
    assert poller.wait(-1, 0) == 0
    for end in (ours, theirs, wakeup):
        end.close()


def test_bridges_wait_is_given_up_when_nobody_answers_a_call(
    monkeypatch: pytest.MonkeyPatch, make_bridge: object, unused_port: int
) -> None:
    """A listener with a full queue lets SYNs fall on the floor."""
    assert callable(make_bridge)
    monkeypatch.setattr(limits, "CONNECT_PATIENCE", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", unused_port))
        server.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", unused_port))
        watched = make_bridge(Endpoint(Scheme.TCP, host="127.0.0.1", port=unused_port))
        watched.wait_error("does not answer")
        watched.bridge.stop()
        wait_until(lambda: watched.bridge.join(0), 5, "the end")
        for filler in fillers:
            filler.close()


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
