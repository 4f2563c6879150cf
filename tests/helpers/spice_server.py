"""A stand-in for spice-server with one smart card, and for QEMU and the guest behind it, as reds.cpp, smartcard.cpp and
smartcard-channel-client.cpp behave.

Written from those files and spice/protocol.h alone, so that it can judge our own encoder and decoder. What would end
the real one with an assertion or on a null pointer makes it `fatal` here.
"""

from __future__ import annotations

import queue
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from virtcard.bridge.spice.clients import Session

MAIN, SMARTCARD = 1, 8
ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU = range(2, 8)
OK, NEED_SECURED, DENIED, BAD_ID = 0, 5, 7, 8
AUTH, MINI_HEADER, SASL = 0b0011, 0b1000, 0b0101
PATIENCE = 10.0
WINDOW = 3


class Fault(Enum):
    """How this server misbehaves, or is another one."""

    NO_SPICE = "says what no SPICE server does"
    NO_CARD = "has no smart card"
    SECURE_ONLY = "wants TLS"
    SASL = "wants SASL"
    OLD = "has no mini headers"
    NO_KEY = "gives a key that is none"
    SILENT = "takes a call, and never says a word"
    HUGE = "announces 2 GiB on the card's channel"
    TAKEN = "has no reader left"
    MOVED = "says on the main channel that the machine has moved"
    DUPLICATE = "hangs up on a second channel of a card"


class NotTransacted(Exception):
    """The guest's SCardTransmit failed."""


@dataclass
class Connection:
    """A channel of a client."""

    sock: socket.socket
    kind: int
    session: int
    sent: int = 0
    acknowledged: int = 0
    pongs: list[bytes] = field(default_factory=list)


@cache
def key() -> RSAPrivateKey:
    """RSA-1024, as reds.cpp makes one for each link."""
    return generate_private_key(65537, 1024)


class SpiceServer:
    """Listens on a unix socket, or on a TCP port of the loopback device."""

    def __init__(self, path: Path | None = None, *, password: bytes = b"", fault: Fault | None = None) -> None:
        self.fault = fault
        self.password = password
        self.fatal: list[str] = []
        self.kinds: list[int] = []
        self.thrown_out = 0
        self.ignores_acknowledgements = False
        self.atr: bytes | None = None
        self.answers: queue.Queue[bytes | None] = queue.Queue()
        self.connections: list[Connection] = []
        self.viewers: dict[int, set[int]] = {}
        self.changed = threading.Condition(threading.RLock())
        self._added = False
        self._server = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._server.bind(str(path) if path else ("127.0.0.1", 0))
        self._server.listen(8)
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def port(self) -> int:
        number: int = self._server.getsockname()[1]
        return number

    # What a monitor sees, and viewers.

    def clients(self) -> tuple[Session, ...]:
        """query-spice."""
        with self.changed:
            found = {number: set(channels) for number, channels in self.viewers.items()}
            for connection in self.connections:
                found.setdefault(connection.session, set()).add(connection.kind)
        return tuple(Session(number, frozenset(kinds), "10.0.0.7 (port 5)") for number, kinds in found.items())

    def viewer_comes(self, *channels: int) -> int:
        """A viewer opens its main channel, which ends every other session, and more."""
        number = random.randrange(1, 1 << 32)
        self._begin_session({number: {MAIN, *channels}})
        return number

    def viewer_leaves(self) -> None:
        """Whoever was beside it goes, too."""
        with self.changed:
            beside = [connection for connection in self.connections if connection.session in self.viewers]
            self.viewers.clear()
        _hang_up(beside)

    def _begin_session(self, viewers: dict[int, set[int]]) -> None:
        """reds_disconnect: whoever is there goes."""
        with self.changed:
            self.thrown_out += len(self.viewers)
            self.viewers = viewers
            connections = list(self.connections)
        _hang_up(connections)
        self.wait_for(lambda: not any(one in self.connections for one in connections), "the end of a session")

    # The guest.

    def exchange(self, command: bytes, timeout: float = PATIENCE) -> bytes:
        """What the guest's SCardTransmit gives."""
        self.send_apdu(command)
        answer = self.answers.get(timeout=timeout)
        if answer is None:
            raise NotTransacted
        return answer

    def send_apdu(self, command: bytes) -> None:
        """A command of the guest."""
        self.send_card(APDU, command)

    def send_card(self, kind: int, payload: bytes, reader_id: int = 0) -> None:
        """A VSCard message, with QEMU's header turned around."""
        self.send(self.card_channel(), 101, struct.pack("<III", kind, reader_id, len(payload)) + payload)

    def wait_card(self) -> None:
        self.wait_for(lambda: self.atr is not None, "a card")

    def wait_empty(self) -> None:
        self.wait_for(lambda: self.atr is None, "an empty reader")

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"not within {timeout:g} s: {what}"

    # Channels.

    def channel(self, kind: int) -> Connection:
        with self.changed:
            return next(connection for connection in self.connections if connection.kind == kind)

    def card_channel(self) -> Connection:
        return self.channel(SMARTCARD)

    def send(self, connection: Connection, kind: int, payload: bytes) -> None:
        """A message; spice-server sends two windows ahead of the acknowledgements, and we stop the test there."""
        with self.changed:
            connection.sent += 1
            ahead = connection.sent - connection.acknowledged
            if ahead > 2 * WINDOW and not self.ignores_acknowledgements:
                waited = self.changed.wait_for(
                    lambda: connection.sent - connection.acknowledged <= 2 * WINDOW, PATIENCE
                )
                assert waited, "the client does not acknowledge"
            connection.sock.sendall(struct.pack("<HI", kind, len(payload)) + payload)

    def close(self) -> None:
        with suppress(OSError):  # a second time
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self.changed:
            connections = list(self.connections)
        _hang_up(connections)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="spice-server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                connection = self._link(sock)
                if connection is not None:
                    self._run(connection)
            except (OSError, EOFError):
                return

    def _link(self, sock: socket.socket) -> Connection | None:
        magic, major, _minor, size = struct.unpack("<4sIII", take(sock, 16))
        assert (magic, major) == (b"REDQ", 2)
        session, kind, _id, common, own, offset = struct.unpack("<IBBIII", (body := take(sock, size))[:18])
        assert (common, own, offset) == (1, 0, 18)
        assert struct.unpack("<I", body[18:]) == (0b1011,)
        if self.fault is Fault.SILENT:
            sock.recv(1)
        if self.fault is Fault.NO_SPICE:
            sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        if kind == SMARTCARD and self.fault is Fault.NO_CARD:
            return None
        if self.fault is Fault.SECURE_ONLY:
            _reply(sock, NEED_SECURED, bytes(162), 0)
            return None
        capabilities = {Fault.SASL: SASL | MINI_HEADER, Fault.OLD: AUTH}.get(self.fault, AUTH | MINI_HEADER)  # type: ignore[arg-type]
        public = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        _reply(sock, OK, bytes(162) if self.fault is Fault.NO_KEY else public, capabilities)
        (mechanism,) = struct.unpack("<I", take(sock, 4))
        ticket = key().decrypt(take(sock, 128), OAEP(MGF1(SHA1()), SHA1(), None))
        assert mechanism == 1
        if self.password and ticket != self.password + b"\0":
            sock.sendall(struct.pack("<I", DENIED))
            return None
        return self._admit(sock, kind, session)

    def _admit(self, sock: socket.socket, kind: int, session: int) -> Connection | None:
        if kind == MAIN:
            assert session == 0
            self._begin_session({})
            session = random.randrange(1, 1 << 32)
        elif session not in {one.connection_id for one in self.clients()}:
            sock.sendall(struct.pack("<I", BAD_ID))
            return None
        sock.sendall(struct.pack("<I", OK))
        if kind == SMARTCARD and (self.fault is Fault.DUPLICATE or self._has_card(session)):
            return None
        connection = Connection(sock, kind, session)
        with self.changed:
            self.connections.append(connection)
            self.changed.notify_all()
        return connection

    def _has_card(self, session: int) -> bool:
        return any(one.connection_id == session and one.has_card for one in self.clients())

    def _run(self, connection: Connection) -> None:
        try:
            self._welcome(connection)
            while True:
                kind, size = struct.unpack("<HI", take(connection.sock, 6))
                self._hear(connection, kind, take(connection.sock, size))
        finally:
            with self.changed:
                self.connections.remove(connection)
                if connection.kind == SMARTCARD:
                    self._added, self.atr = False, None
                self.changed.notify_all()

    def _welcome(self, connection: Connection) -> None:
        self.send(connection, 3, struct.pack("<II", 1, WINDOW))
        if connection.kind == MAIN:
            self.send(connection, 103, struct.pack("<8I", connection.session, 1, 1, 1, 0, 10, 0, 0))
            self.send(connection, 4, struct.pack("<IQ", 1, 5) + bytes(256_000))
            if self.fault is Fault.MOVED:
                self.send(connection, 111, struct.pack("<HHIIII", 5900, 0xFFFF, 6, 20, 0, 0) + b"other\0")
        elif self.fault is Fault.HUGE:
            connection.sock.sendall(struct.pack("<HI", 101, 0x8000_0000))
        else:
            self.send(connection, 4, struct.pack("<IQ", 1, 5))

    def _hear(self, connection: Connection, kind: int, payload: bytes) -> None:
        with self.changed:
            match kind:
                case 1:
                    connection.acknowledged = connection.sent
                case 2:
                    connection.acknowledged += WINDOW
                case 3:
                    connection.pongs.append(payload)
                case 101 if connection.kind == SMARTCARD:
                    self._hear_card(connection, payload)
            self.changed.notify_all()

    def _hear_card(self, connection: Connection, payload: bytes) -> None:
        kind, reader_id, length = struct.unpack("<III", payload[:12])
        if length != len(payload) - 12:
            self.fatal.append("a length that is not the message's")
        self.kinds.append(kind)
        if kind == READER_ADD:
            self._added = self.fault is not Fault.TAKEN
            self.send_card(ERROR, bytes(4) if self._added else struct.pack("<I", 2))
        elif not self._added:
            self.fatal.append(f"message {kind} for a reader that was not added")
        elif reader_id:
            self.fatal.append(f"reader {reader_id}")
        else:
            self._hear_device(kind, payload[12:])

    def _hear_device(self, kind: int, payload: bytes) -> None:
        match kind:
            case 7:
                self.answers.put(payload)
            case 2:
                self.answers.put(None)
            case _:
                self.atr = payload if kind == ATR else None
                self._added = self._added and kind != READER_REMOVE
                self.send_card(ERROR, bytes(4))


def _hang_up(connections: Iterable[Connection]) -> None:
    for connection in connections:
        with suppress(OSError):  # it has gone by itself
            connection.sock.shutdown(socket.SHUT_RDWR)


def _reply(sock: socket.socket, error: int, public: bytes, capabilities: int) -> None:
    words = struct.pack("<I", capabilities) if capabilities else b""
    body = struct.pack("<I", error) + public + struct.pack("<III", len(words) // 4, 0, 178) + words
    sock.sendall(b"REDQ" + struct.pack("<III", 2, 2, len(body)) + body)


def take(sock: socket.socket, size: int) -> bytes:
    """So many bytes; EOFError when the client is gone."""
    data = sock.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        raise EOFError
    return data
