"""A QEMU whose owner means harm: it greets as it should, and then speaks VSCard badly on purpose."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from helpers.qemu_peer import APDU, ATR, ERROR, HEADER, INIT, INIT_PAYLOAD, READER_ADD, UNDEFINED

UNKNOWN = 99
SELECT = bytes.fromhex("00a4040009a00000030800001000")
LARGEST = 65_524
"""Bytes of the largest payload that a header may announce."""
PACE = 0.001
"""Seconds between two pieces of what is sent piece by piece."""


def message(kind: int, payload: bytes, reader_id: int = 0) -> bytes:
    """A message as it should be."""
    return HEADER.pack(kind, reader_id, len(payload)) + payload


class Hostile:
    """Listens like QEMU, and does the same `attack` on every connection, while `on` is set."""

    def __init__(self, where: Path, attack: Attack, *, until: int = ATR) -> None:
        """The attack begins after the acknowledgement of the first message of type `until`."""
        self.times: list[float] = []
        self.sent = 0
        self.on = threading.Event()
        self._ended = threading.Event()
        self._attack = attack
        self._until = until
        self._link: socket.socket | None = None
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(os.fspath(where))
        self._server.listen(8)
        self._thread = threading.Thread(target=self._run, name="hostile", daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How often it was called so far."""
        return len(self.times)

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self.on.clear()
        for end in (self._server, self._link):
            if end is not None:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._server.close()

    def send(self, data: bytes) -> None:
        """All of it; OSError when the other side has had enough."""
        assert self._link is not None
        if not self.on.is_set():
            raise ConnectionAbortedError
        self._link.sendall(data)
        self.sent += len(data)

    def receive(self) -> bytes:
        """Something; OSError at the end."""
        assert self._link is not None
        data = self._link.recv(65_536)
        if not data:
            raise ConnectionResetError
        return data

    def stay(self) -> None:
        """Say no more, as long as the attack goes on and the other side bears it."""
        assert self._link is not None
        self._link.settimeout(0.1)
        while self.on.is_set():
            with suppress(TimeoutError):
                self.receive()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._link, _ = self._server.accept()
                with self._link:
                    self.times.append(time.monotonic())
                    self._greet()
                    while not self._ended.is_set() and not self.on.wait(0.1):
                        continue
                    self._attack(self)
            except OSError:
                continue

    def _answer(self, data: bytes) -> None:
        assert self._link is not None
        self._link.sendall(data)

    def _greet(self) -> None:
        data = b""
        while True:
            while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack_from(data)[2]:
                data += self.receive()
            kind, reader_id, length = HEADER.unpack_from(data)
            data = data[HEADER.size + length :]
            if kind == INIT:
                self._answer(message(INIT, INIT_PAYLOAD, UNDEFINED))
            elif kind != ERROR:
                self._answer(message(ERROR, bytes(4), 0 if kind == READER_ADD else reader_id))
            if kind == self._until:
                return


Attack = Callable[[Hostile], None]


def flood_of_commands(peer: Hostile) -> None:
    """Thousands at once, without waiting for an answer."""
    while True:
        peer.send(message(APDU, SELECT) * 4000)


def flood_of_unknown_messages(peer: Hostile) -> None:
    """Of a type that does not exist, as large as they may be."""
    while True:
        peer.send(message(UNKNOWN, bytes(LARGEST)))


def flood_of_small_unknown_messages(peer: Hostile) -> None:
    """Thousands that are nothing but a header."""
    while True:
        peer.send(message(UNKNOWN, b"") * 1000)


def flood_of_acknowledgements(peer: Hostile) -> None:
    """For what was never sent."""
    while True:
        peer.send(message(ERROR, bytes(4)) * 1000)


def flood_of_greetings(peer: Hostile) -> None:
    """Init after Init."""
    while True:
        peer.send(message(INIT, INIT_PAYLOAD, UNDEFINED) * 1000)


def never_reads(peer: Hostile) -> None:
    """Asks for much, piece by piece, and takes no answer."""
    while True:
        peer.send(message(APDU, SELECT))
        time.sleep(PACE)


def byte_by_byte(peer: Hostile) -> None:
    """The largest command there is, in as many pieces as it has bytes."""
    largest = message(APDU, bytes(LARGEST))
    while True:
        for at in range(len(largest)):
            peer.send(largest[at : at + 1])


def half_headers(peer: Hostile) -> None:
    """Half of a header, and then nothing for as long as the other side waits."""
    peer.send(message(APDU, SELECT)[:6])
    peer.stay()


def promises(peer: Hostile) -> None:
    """A header for as much as there may be, and all of it but the last byte."""
    peer.send(message(APDU, bytes(LARGEST))[:-1])
    peer.stay()


def lies_about_lengths(peer: Hostile) -> None:
    """More than any message can have."""
    for length in (LARGEST + 1, 0x7FFF_FFFF, 0xFFFF_FFFF):
        peer.send(struct.pack(">III", APDU, 0, length) + bytes(100_000))


def empty_commands(peer: Hostile) -> None:
    """Commands of no byte and of one, each answered or not."""
    while True:
        for command in (b"", b"\x00", b"\x00\xa4"):
            peer.send(message(APDU, command))
            peer.receive()


def largest_commands(peer: Hostile) -> None:
    """Commands of 64 KiB, one after the other, each answered."""
    while True:
        peer.send(message(APDU, b"\x00\xcb\x3f\xff\x00\xff\xe0" + bytes(LARGEST - 7)))
        peer.receive()


def busy_commands(peer: Hostile) -> None:
    """As a guest that never pauses; nothing is wrong with that."""
    while True:
        peer.send(message(APDU, SELECT))
        peer.receive()


def hangs_up(peer: Hostile) -> None:
    """At once, in the middle of a message."""
    peer.send(message(APDU, SELECT)[:-3])


ATTACKS: tuple[Attack, ...] = (
    flood_of_commands,
    flood_of_unknown_messages,
    flood_of_small_unknown_messages,
    flood_of_acknowledgements,
    flood_of_greetings,
    never_reads,
    byte_by_byte,
    half_headers,
    promises,
    lies_about_lengths,
    empty_commands,
    largest_commands,
    busy_commands,
    hangs_up,
)
