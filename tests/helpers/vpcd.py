"""A card in a vpcd slot: the other end of libifdvpcd.so.

Each message is a two-byte big-endian length and that many bytes. One byte is an order (0 off, 1 on, 2 reset, 4 tell
the ATR, the one that is answered), more are a command APDU.
"""

from __future__ import annotations

import socket
import threading
import time
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from virtcard.card.base import Card

PATIENCE = 5.0
"""Seconds for the serving thread to end."""


class Order(IntEnum):
    """vpcd.h: VPCD_CTRL_*."""

    OFF = 0
    ON = 1
    RESET = 2
    ATR = 4


class VirtualCard(Protocol):
    """What can sit in a slot."""

    @property
    def atr(self) -> bytes:
        """2 to 33 bytes."""

    def transmit(self, command: bytes) -> bytes:
        """Answer one command APDU."""

    def reset(self) -> None:
        """Power went off or came back, or the reset line was pulled."""


class CardInSlot:
    """A `virtcard.card.base.Card` (a software card, say) as something to plug in."""

    def __init__(self, card: Card) -> None:
        self._card = card
        self.atr = card.power_on()

    def transmit(self, command: bytes) -> bytes:
        """Pass it on."""
        return self._card.transmit(command)

    def reset(self) -> None:
        """Pass it on."""
        self.atr = self._card.reset()


class Slot:
    """One vpcd slot: plug a card in, take it out. A context manager that unplugs at the end.

    A plugged card finds a restarted pcscd again by itself.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._out = threading.Event()

    def plug(self, card: VirtualCard) -> None:
        """Put a card in an empty slot. pcscd notices at its next look, every 400 ms (PCSCLITE_STATUS_POLL_RATE).

        It must have seen the slot empty first: vpcd takes the next card at the port before it tells of the removal,
        and then pcscd goes on with the ATR of the card before.
        """
        if self._thread is not None:
            raise RuntimeError("there is a card in the slot: unplug it first")
        self._out = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(card, self._out), name="card", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Take the card out, when it is done with its command."""
        self.hang_up()
        if self._thread is not None:
            self._thread.join(PATIENCE)
        self._thread = None

    def hang_up(self) -> None:
        """Close the line and do not wait for the card, which may be at work."""
        self._out.set()
        if self._socket is not None:
            _shut(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.unplug()

    def _serve(self, card: VirtualCard, out: threading.Event) -> None:
        while not out.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as sock:
                    self._socket = sock
                    _converse(sock, card, out)
            except OSError:
                time.sleep(0.01)  # pcscd is away; it comes back on the same port


def serve(port: int, card: VirtualCard) -> None:
    """Be the card in the slot at `port` until the process is ended: for a card in a process of its own."""
    Slot(port)._serve(card, threading.Event())


def _converse(sock: socket.socket, card: VirtualCard, out: threading.Event) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while not out.is_set():
        message = _receive(sock, int.from_bytes(_receive(sock, 2)))
        if len(message) > 1:
            answer = card.transmit(message)
        elif message[0] == Order.ATR:
            answer = card.atr
        else:
            card.reset()
            continue
        sock.sendall(len(answer).to_bytes(2) + answer)


def _receive(sock: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        # vpcd sends length and bytes apart with Nagle on: an acknowledgement that waits costs 40 ms a command.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = sock.recv(size - len(received))
        if not part:
            raise ConnectionResetError("vpcd closed the slot")
        received += part
    return bytes(received)


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already
