"""Bridges over TLS, against asyncio's TLS and against peers that do not play along."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from helpers.bridges import Watched
from helpers.fake_card import FakeCard
from helpers.network import free_port
from helpers.pki import DAY, Authority, Issued, lay_out
from helpers.qemu_peer import CARD_REMOVE, READER_REMOVE, QemuPeer
from helpers.tls_socket import TlsSocket
from helpers.waiting import wait_until
from virtcard import limits
from virtcard.bridge import link as link_module
from virtcard.bridge.attempt import dial
from virtcard.bridge.dial import Dial
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.link import Link
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.secured import SecuredLink
from virtcard.bridge.tls import TlsSettings
from virtcard.errors import Disconnected, LocalError

MakePeer = Callable[..., QemuPeer]
MakeBridge = Callable[..., Watched]
COMMAND = bytes.fromhex("00a4040000")
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True)
class Parties:
    """An authority, our directory, and the contexts of the other end."""

    authority: Authority
    ours: TlsSettings
    directory: Path

    def server(self, issued: Issued | None = None, authority: Authority | None = None) -> ssl.SSLContext:
        """A server that wants a certificate of `authority`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._complete(context, issued or self.authority.issue(), authority or self.authority)

    def client(self, issued: Issued | None = None, authority: Authority | None = None) -> ssl.SSLContext:
        """A client with a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._complete(context, issued or self.authority.issue("client"), authority or self.authority)

    def _complete(self, context: ssl.SSLContext, issued: Issued, authority: Authority) -> ssl.SSLContext:
        context.load_verify_locations(cadata=authority.certificate_pem().decode())
        file = self.directory / f"{issued.certificate.serial_number}.pem"
        file.write_bytes(issued.certificate_pem + issued.key_pem)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    authority = Authority()
    pki = lay_out(tmp_path / "pki", authority, server=authority.issue(), client=authority.issue("client"))
    return Parties(authority, TlsSettings(pki), tmp_path)


@dataclass(frozen=True)
class Scene:
    """A bridge of ours, and a peer with TLS that is not ours."""

    parties: Parties
    make_peer: MakePeer
    bridge: MakeBridge

    @property
    def pki(self) -> Path:
        return self.parties.ours.directory

    def peer(self, context: ssl.SSLContext | None = None) -> QemuPeer:
        """One that listens, by default with a good certificate."""
        secure = partial(TlsSocket, context=context or self.parties.server())
        return self.make_peer(("127.0.0.1", 0), secure=secure)

    def caller(self, port: int) -> QemuPeer:
        """One that calls, with a good certificate."""
        secure = partial(TlsSocket, context=self.parties.client(), hostname="localhost")
        return self.make_peer(("127.0.0.1", port), listen=False, secure=secure)

    def calls(self, port: int, *, host: str = "localhost", **options: object) -> Watched:
        """A bridge that calls."""
        return self.bridge(called(port, host), tls=self.parties.ours, **options)

    def waits(self, port: int) -> Watched:
        """A bridge that waits."""
        return self.bridge(waited(port), tls=self.parties.ours)


@pytest.fixture
def scene(parties: Parties, make_peer: MakePeer, make_bridge: MakeBridge) -> Scene:
    return Scene(parties, make_peer, make_bridge)


def called(port: int, host: str = "localhost") -> Endpoint:
    return Endpoint(Scheme.TLS, host=host, port=port)


def waited(port: int) -> Endpoint:
    return Endpoint(Scheme.TLS, host="127.0.0.1", port=port, listen=True)


# We call.


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_card_over_tls(scene: Scene, version: str, host: str) -> None:
    context = scene.parties.server()
    context.minimum_version = context.maximum_version = VERSIONS[version]
    peer = scene.peer(context)
    watched = scene.calls(peer.port, host=host)
    watched.bridge.insert(FakeCard())
    peer.wait_card()
    for size in (5, 300, 60_000):
        assert peer.exchange(COMMAND + bytes(size)) == b"\x90\x00"
    watched.bridge.stop()
    assert watched.bridge.join(10)
    assert peer.types()[-2:] == [CARD_REMOVE, READER_REMOVE]


def test_the_card_is_in_again_after_the_connection_was_cut(scene: Scene) -> None:
    peer = scene.peer()
    watched = scene.calls(peer.port)
    watched.bridge.insert(FakeCard())
    for _ in range(3):
        watched.wait(BridgeState.INSERTED)
        assert peer.exchange(COMMAND)
        watched.forget()
        peer.hang_up()
        watched.wait(BridgeState.CONNECTING)


def test_a_connection_that_is_cut_in_the_middle_of_a_command(scene: Scene) -> None:
    peer, card = scene.peer(), FakeCard()
    card.gate.clear()
    watched = scene.calls(peer.port)
    watched.bridge.insert(card)
    watched.wait(BridgeState.INSERTED)
    peer.send_apdu(COMMAND)
    assert card.waiting.wait(5)
    watched.forget()
    peer.hang_up()
    card.gate.set()
    watched.wait(BridgeState.INSERTED)
    assert peer.exchange(COMMAND) == b"\x90\x00"
    assert (peer.connections, peer.unasked) == (2, 0)


def test_wrong_servers_are_refused_by_name(scene: Scene) -> None:
    stranger = Authority("stranger").issue()
    peer = scene.peer(scene.parties.server(stranger))
    watched = scene.calls(peer.port)
    watched.wait(BridgeState.CONNECTING, error=f"tls://localhost:{peer.port} is of no authority that we trust")
    assert peer.received == []


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("expired", "has expired."),
        ("early", "is not valid yet."),
        ("elsewhere", "is for another host name."),
        ("client", "is for another purpose."),
    ],
)
def test_what_is_wrong_with_a_server_is_said(scene: Scene, kind: str, sentence: str) -> None:
    issue = scene.parties.authority.issue
    wrong = {
        "expired": lambda: issue(ends=-DAY),
        "early": lambda: issue(begins=DAY / 2),
        "elsewhere": lambda: issue("elsewhere", addresses=()),
        "client": lambda: issue(purpose="client"),
    }
    peer = scene.peer(scene.parties.server(wrong[kind]()))
    watched = scene.calls(peer.port, reconnect=False)
    status = watched.wait(BridgeState.CLOSED)
    assert status.last_error == f"The certificate of tls://localhost:{peer.port} {sentence}"
    assert peer.received == []


def test_another_name_than_the_hosts_can_be_expected(scene: Scene) -> None:
    peer = scene.peer(scene.parties.server(scene.parties.authority.issue("vm.example", addresses=())))
    settings = TlsSettings(scene.pki, "vm.example")
    scene.bridge(called(peer.port), tls=settings).wait(BridgeState.EMPTY)


def test_a_revoked_server_is_refused(scene: Scene) -> None:
    revoked = scene.parties.authority.issue()
    peer = scene.peer(scene.parties.server(revoked))
    (scene.pki / "ca-crl.pem").write_bytes(scene.parties.authority.revocation_pem(revoked))
    watched = scene.calls(peer.port, reconnect=False)
    assert "was revoked" in watched.wait(BridgeState.CLOSED).last_error


def test_a_server_that_is_revoked_later_is_refused_at_the_next_connection(scene: Scene) -> None:
    """The files are read anew."""
    server = scene.parties.authority.issue()
    peer = scene.peer(scene.parties.server(server))
    crl = scene.pki / "ca-crl.pem"
    crl.write_bytes(scene.parties.authority.revocation_pem())
    watched = scene.calls(peer.port)
    watched.wait(BridgeState.EMPTY)
    crl.write_bytes(scene.parties.authority.revocation_pem(server))
    peer.hang_up()
    watched.wait_error("was revoked")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_does_not_take_our_certificate_says_so(scene: Scene, version: str) -> None:
    """With TLS 1.3 we hear of it after our handshake is done."""
    context = scene.parties.server(authority=Authority("stranger"))
    context.maximum_version = VERSIONS[version]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watched = scene.calls(port, reconnect=False)
        plain = server.accept()[0]
        with plain, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(plain, server_side=True)
        assert watched.wait(BridgeState.CLOSED).last_error == f"tls://localhost:{port} ended TLS with us: unknown ca."


def test_a_server_that_hangs_up_after_the_handshake_may_not_take_us(scene: Scene) -> None:
    """GnuTLS, and so QEMU, looks at our certificate then, and says nothing."""
    context = scene.parties.server()
    context.verify_mode = ssl.CERT_NONE
    with socket.create_server(("127.0.0.1", 0)) as server:
        watched = scene.calls(server.getsockname()[1], reconnect=False)
        context.wrap_socket(server.accept()[0], server_side=True).close()
        sentence = "hung up after the TLS handshake; it may not accept us."
        assert watched.wait(BridgeState.CLOSED).last_error.endswith(sentence)


def test_a_server_without_tls_is_told_from_one_with(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watched = scene.calls(port, reconnect=False)
        with server.accept()[0] as plain:
            plain.sendall(b"220 mail.example ESMTP\r\n")
            assert "does not speak TLS as we do" in watched.wait(BridgeState.CLOSED).last_error


def test_a_server_that_hangs_up_during_the_handshake(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        watched = scene.calls(server.getsockname()[1], reconnect=False)
        server.accept()[0].close()
        assert "hung up during the TLS handshake" in watched.wait(BridgeState.CLOSED).last_error


def test_a_server_that_is_silent_is_given_up_in_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECT_PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        watched = scene.calls(server.getsockname()[1], reconnect=False)
        assert watched.wait(BridgeState.CLOSED).last_error.endswith("does not finish the TLS handshake.")


def test_a_file_that_went_bad_is_told_and_tried_again(scene: Scene) -> None:
    peer = scene.peer()
    authority = scene.pki / "ca-cert.pem"
    content = authority.read_bytes()
    authority.unlink()
    watched = scene.calls(peer.port)
    watched.wait_error("ca-cert.pem is missing")
    authority.write_bytes(content)
    watched.wait(BridgeState.EMPTY)


def test_an_endpoint_with_tls_is_never_met_without() -> None:
    with pytest.raises(LocalError):
        dial(called(1))


# We wait.


def test_a_machine_that_calls_finds_the_card_again_and_again(scene: Scene) -> None:
    port = free_port()
    watched = scene.waits(port)
    watched.bridge.insert(FakeCard())
    peer = scene.caller(port)
    for _ in range(3):
        watched.wait(BridgeState.INSERTED)
        assert peer.exchange(COMMAND) == b"\x90\x00"
        watched.forget()
        peer.hang_up()
        watched.wait(BridgeState.CONNECTING)


@contextmanager
def caller(port: int) -> Iterator[socket.socket]:
    """Somebody who calls a bridge that may not listen yet."""
    found: list[socket.socket] = []

    def call() -> bool:
        try:
            found.append(socket.create_connection(("127.0.0.1", port), 5))
        except ConnectionRefusedError:
            return False
        return True

    wait_until(call, 5, "the bridge listens")
    with found[0] as sock:
        yield sock


def _try_handshake(port: int, context: ssl.SSLContext) -> None:
    with caller(port) as plain, context.wrap_socket(plain, server_hostname="localhost") as secured:
        secured.recv(1)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("stranger", "is of no authority that we trust."),
        ("expired", "has expired."),
        ("revoked", "was revoked."),
        ("server", "is for another purpose."),
        ("nobody", "has no certificate to show."),
    ],
)
def test_callers_without_a_good_certificate_are_turned_away_and_the_next_is_heard(
    scene: Scene, kind: str, sentence: str
) -> None:
    authority = scene.parties.authority
    revoked = authority.issue("revoked")
    (scene.pki / "ca-crl.pem").write_bytes(authority.revocation_pem(revoked))
    wrong = {
        "stranger": lambda: scene.parties.client(Authority("stranger").issue("client")),
        "expired": lambda: scene.parties.client(authority.issue("client", ends=-DAY)),
        "revoked": lambda: scene.parties.client(revoked),
        "server": lambda: scene.parties.client(authority.issue("client", purpose="server")),
        "nobody": lambda: ssl.create_default_context(cadata=authority.certificate_pem().decode()),
    }
    port = free_port()
    watched = scene.waits(port)
    watched.bridge.insert(FakeCard())
    with pytest.raises(OSError):  # noqa: PT011 (an alert, or the end of the connection)
        _try_handshake(port, wrong[kind]())
    watched.wait_error(sentence)
    scene.caller(port)
    watched.wait(BridgeState.INSERTED)


@pytest.mark.parametrize(("globs", "welcome"), [(("host-*", "client"), True), (("cli*",), True), (("host-*",), False)])
def test_only_callers_of_a_name_that_is_expected_come_in(scene: Scene, globs: tuple[str, ...], welcome: bool) -> None:
    port = free_port()
    watched = scene.bridge(waited(port), tls=TlsSettings(scene.pki, peers=globs))
    scene.caller(port)
    if welcome:
        watched.wait(BridgeState.EMPTY)
    else:
        watched.wait_error("is for client, 127.0.0.1, and another is expected.")
        assert BridgeState.GREETING not in watched.states()


def test_callers_that_are_silent_keep_nobody_out(scene: Scene) -> None:
    port = free_port()
    watched = scene.waits(port)
    with caller(port) as first:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(limits.HANDSHAKES_MAX)]
        first.settimeout(5)
        assert first.recv(1) == b"", "the oldest is ended for the newest"
        scene.caller(port)
        watched.wait(BridgeState.EMPTY)
        for sock in crowd:
            sock.settimeout(5)
            assert sock.recv(1) == b""
            sock.close()


def test_a_caller_that_is_silent_is_ended_in_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_PATIENCE", 0.3)
    port = free_port()
    scene.waits(port)
    with caller(port) as silent:
        begin = time.monotonic()
        silent.settimeout(5)
        assert silent.recv(1) == b""
        assert time.monotonic() - begin > 0.2
        with socket.create_connection(("127.0.0.1", port), 5) as next_one:
            next_one.settimeout(5)
            assert next_one.recv(1) == b""


def test_a_caller_with_rubbish_is_turned_away(scene: Scene) -> None:
    port = free_port()
    watched = scene.waits(port)
    with caller(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        watched.wait_error("does not speak TLS as we do")


def test_a_file_that_went_bad_turns_callers_away_until_it_is_good(scene: Scene) -> None:
    port = free_port()
    key = scene.pki / "server-key.pem"
    key.chmod(0o644)
    watched = scene.waits(port)
    with caller(port) as sock:
        assert sock.recv(1) == b""
    watched.wait_error("is open to others")
    key.chmod(0o600)
    scene.caller(port)
    watched.wait(BridgeState.EMPTY)


# Links.


def link_to(settings: TlsSettings, port: int) -> SecuredLink:
    attempt: Dial = dial(called(port), settings)
    while True:
        poll = select.poll()
        poll.register(attempt.fileno(), attempt.events)
        assert poll.poll(5000)
        link = attempt.proceed()
        if link is not None:
            assert isinstance(link, SecuredLink)
            return link


@pytest.fixture
def ends(parties: Parties) -> Iterator[tuple[SecuredLink, ssl.SSLSocket]]:
    """A link of ours and the blocking socket of its peer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[ssl.SSLSocket] = []
        context = parties.server()
        context.num_tickets = 0

        def accept() -> None:
            accepted.append(context.wrap_socket(server.accept()[0], server_side=True))

        thread = threading.Thread(target=accept)
        thread.start()
        link = link_to(parties.ours, server.getsockname()[1])
        thread.join()
        with accepted[0] as peer:
            peer.settimeout(5)
            yield link, peer
            link.close()


def readable(link: Link, timeout: float = 5.0) -> bool:
    return bool(select.select([link], [], [], timeout)[0])


def test_all_of_a_record_is_received_at_once_since_poll_does_not_see_the_rest(
    ends: tuple[SecuredLink, ssl.SSLSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, peer = ends
    monkeypatch.setattr("virtcard.bridge.secured.RECEIVE", 10)
    block = os.urandom(5000)
    peer.sendall(block)
    assert readable(link)
    assert link.receive() == block
    assert link.receive() is None
    assert not readable(link, 0)


def test_what_we_receive_at_once_has_room_for_a_record() -> None:
    """RFC 8446, 5.1: 2^14 bytes."""
    assert link_module.RECEIVE >= 2**14


def test_what_does_not_fit_is_kept_and_sent_later(ends: tuple[SecuredLink, ssl.SSLSocket]) -> None:
    link, peer = ends
    block = os.urandom(64 * 1024)
    sent = b""
    while link.events == select.POLLIN:
        link.send(block)
        sent += block
    received = bytearray()
    while len(received) < len(sent):
        received += peer.recv(65536)
        if link.events & select.POLLOUT and select.select([], [link], [], 0)[1]:
            link.flush()
    assert received == sent
    assert link.events == select.POLLIN


def test_half_a_record_is_unread_and_nothing_to_receive(ends: tuple[SecuredLink, ssl.SSLSocket]) -> None:
    link, peer = ends
    assert not link.unread()
    os.write(peer.fileno(), b"\x17\x03\x03\x00\x20half")
    assert readable(link)
    assert link.unread()
    assert link.receive() is None


def test_a_record_that_was_tampered_with_ends_the_link(ends: tuple[SecuredLink, ssl.SSLSocket]) -> None:
    link, peer = ends
    os.write(peer.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
    assert readable(link)
    assert link.receive() == b""
    assert isinstance(link.failure, Disconnected)


def test_the_end_is_told_in_tls_and_nothing_is_sent_or_heard_after_it(
    ends: tuple[SecuredLink, ssl.SSLSocket],
) -> None:
    link, peer = ends
    peer.send(b"abc")
    assert readable(link)
    link.shutdown()
    link.send(b"never in clear")
    assert link.receive() == b""
    assert peer.recv(100) == b"", "close_notify, no truncation"


def test_a_peer_that_closes_in_order_is_gone_without_a_complaint(ends: tuple[SecuredLink, ssl.SSLSocket]) -> None:
    link, peer = ends
    peer.send(b"abc")
    assert readable(link)
    assert link.receive() == b"abc"
    peer.settimeout(0.1)
    with pytest.raises(OSError):  # noqa: PT011 (it waits for our close_notify)
        peer.unwrap()
    assert readable(link)
    assert link.receive() == b""
    assert link.failure is None


def test_sending_to_a_peer_that_is_gone_is_silent(ends: tuple[SecuredLink, ssl.SSLSocket]) -> None:
    link, peer = ends
    peer.close()
    link.send(b"abc")
    link.send(b"abc")
    assert link.receive() == b""


def test_one_thread_receives_while_others_send(ends: tuple[SecuredLink, ssl.SSLSocket]) -> None:
    """OpenSSL's connections are not to be used by two threads at a time."""
    link, peer = ends
    rounds, block = 300, os.urandom(1000)
    received = bytearray()

    def read() -> None:
        while len(received) < rounds * len(block):
            if readable(link, 1):
                received.extend(link.receive() or b"")

    def echo() -> None:
        done = 0
        while done < rounds * len(block):
            data = peer.recv(4096)
            peer.sendall(data)
            done += len(data)

    threads = [threading.Thread(target=read), threading.Thread(target=echo)]
    for thread in threads:
        thread.start()
    for _ in range(rounds):
        link.send(block)
        if link.events & select.POLLOUT:
            link.flush()
    while link.events & select.POLLOUT:
        select.select([], [link], [], 1)
        link.flush()
    for thread in threads:
        thread.join(20)
    assert received == block * rounds
