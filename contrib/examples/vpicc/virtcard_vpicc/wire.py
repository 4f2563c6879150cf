"""vsmartcard's protocol, the reader's side of it.

A message is its length in two bytes, big-endian, and that many bytes. To the card, one byte is an order and more are a
command APDU; the card answers a command APDU by a response APDU, the order ATR by its ATR, and other orders not at all.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeVar

from virtcard.errors import CardAbsent, CardError

ANSWER_PATIENCE: Final = 15.0
"""Seconds that a card may take for a command; virtcard gives a card up after 20."""
ATR_PATIENCE: Final = 5.0
"""Seconds that it may take to tell its ATR."""
ATR_SIZES: Final = range(2, 34)
"""Bytes, ISO 7816-3."""
ANSWER_SIZES: Final = range(2, 65_536)
"""Bytes: a status word at least, and at most what two bytes of length can say."""
COMMAND_SIZES: Final = range(4, 65_536)
"""Bytes. One byte would be an order, and an extended APDU may have some bytes more than a length can say."""
WRONG_LENGTH: Final = b"\x67\x00"
"""ISO 7816-4, 5.1.3."""

R = TypeVar("R")


class Order(IntEnum):
    """vsmartcard, vpcd.h: VPCD_CTRL_*."""

    OFF = 0
    ON = 1
    RESET = 2
    ATR = 4


class Peer:
    """The connection of one client, which is not trusted: the first thing that it does wrong is the last."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """For `poll`, which tells when the client hangs up."""
        return self._socket.fileno()

    def order(self, order: Order) -> None:
        """An order that is not answered."""
        self._talk(ATR_PATIENCE, lambda deadline: self._send(bytes([order]), deadline))

    def atr(self) -> bytes:
        """What the card says to the order ATR."""
        return self._talk(ATR_PATIENCE, lambda deadline: self._ask(bytes([Order.ATR]), ATR_SIZES, deadline))

    def transmit(self, command: bytes) -> bytes:
        """The answer to a command APDU."""
        if len(command) not in COMMAND_SIZES:
            return WRONG_LENGTH
        return self._talk(ANSWER_PATIENCE, lambda deadline: self._ask(command, ANSWER_SIZES, deadline))

    def hang_up(self) -> None:
        """End the connection, also under a call that waits in it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        """Hang up, and let go of the socket when nobody is in it any more."""
        self.hang_up()
        with self._lock:
            self._socket.close()

    def _talk(self, patience: float, call: Callable[[float], R]) -> R:
        """One exchange. Whatever goes wrong in it, the connection is over: its two ends are no longer in step."""
        with self._lock:
            try:
                self._expect_silence()
                return call(time.monotonic() + patience)
            except TimeoutError:
                self.hang_up()
                raise CardError("The vpicc client did not answer in time.", hint="Look whether it hangs.") from None
            except OSError:
                self.hang_up()
                raise CardAbsent("The vpicc client has gone away.", hint="Start it again.") from None
            except CardError:
                self.hang_up()
                raise

    def _expect_silence(self) -> None:
        """What comes unasked would be taken for the next answer."""
        self._socket.settimeout(0)
        try:
            untrusted = self._socket.recv(1)
        except BlockingIOError:
            return
        raise CardAbsent("The vpicc client has gone away.") if not untrusted else _broken()

    def _ask(self, message: bytes, sizes: range, deadline: float) -> bytes:
        self._send(message, deadline)
        untrusted_size = int.from_bytes(self._receive(2, deadline))
        if untrusted_size not in sizes:
            raise _broken()
        return self._receive(untrusted_size, deadline)

    def _send(self, message: bytes, deadline: float) -> None:
        self._wait_until(deadline)
        self._socket.sendall(len(message).to_bytes(2) + message)

    def _receive(self, size: int, deadline: float) -> bytes:
        """Exactly so many bytes: TCP may bring them in pieces, and the deadline is for all of them."""
        received = bytearray()
        while len(received) < size:
            self._wait_until(deadline)
            # A client that writes length and bytes apart would wait 40 ms for our acknowledgement of the first.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            piece = self._socket.recv(size - len(received))
            if not piece:
                raise CardAbsent("The vpicc client has gone away.")
            received += piece
        return bytes(received)

    def _wait_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _broken() -> CardError:
    return CardError("The vpicc client broke the protocol.", hint="Is it a client for vsmartcard's vpcd?")
