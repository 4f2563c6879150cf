"""A stand-in for QEMU's ccid-card-passthru and the guest behind it, as hw/usb/ccid-card-passthru.c behaves.

Written from that file and vscard_common.h alone, so that it can judge our own encoder and decoder. It answers Init
with Init and every control message with an Error, sends header and payload by two writes, keeps a queue of 128
unanswered APDUs and aborts at the 129th, and drops answers that do not fit its bulk-in buffer.
"""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from helpers.tls_socket import TlsSocket

HEADER = struct.Struct(">III")
INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU = range(1, 8)
INIT_PAYLOAD = b"VSCD" + struct.pack(">II", 2, 0)
UNDEFINED = 0xFFFFFFFF
PENDING_MAX = 128
"""PENDING_ANSWERS_NUM of dev-smartcard-reader.c."""
ANSWER_MAX = 374
"""BULK_IN_BUF_SIZE less the CCID header."""
PATIENCE = 10.0
"""Seconds that a test waits for an answer."""
RETRY = 0.01
"""Seconds between two attempts of a peer that connects, as `reconnect` of a chardev."""


class Fault(Enum):
    """How this peer misbehaves on its next connection."""

    NO_INIT = "accepts, and never says a word"
    NO_ACK = "never acknowledges a control message but Init"
    WRONG_MAGIC = "greets with another magic"
    CUT = "closes in the middle of a message, instead of the first acknowledgement"
    HUGE = "announces a payload of 2 GiB"
    NO_READ = "does not read any more after the card is in"
    REFUSE_ATR = "takes no ATR"


class NotTransacted(Exception):
    """The guest's SCardTransmit failed: VSC_Error came as the answer."""


@dataclass(frozen=True)
class Received:
    """A message from the bridge."""

    type: int
    reader_id: int
    payload: bytes


class QemuPeer:
    """One chardev. Give it a path or a TCP port (0 for any) to listen on, or an address to `connect` to."""

    def __init__(
        self,
        where: Path | tuple[str, int],
        *,
        listen: bool = True,
        fault: Fault | None = None,
        secure: Callable[[socket.socket], TlsSocket] | None = None,
    ) -> None:
        """`secure` puts TLS on a connection, or fails with an OSError."""
        self.fault = fault
        self._secure = secure
        self.received: list[Received] = []
        self.connections = 0
        self.atr: bytes | None = None
        self.fatal = False
        self.dropped = 0
        self.unasked = 0
        self.answers: queue.Queue[bytes | None] = queue.Queue()
        self.reading = threading.Event()
        self.reading.set()
        self.connected = threading.Event()
        self._pending = 0
        self._greeting = False
        self._closed = False
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._link: socket.socket | TlsSocket | None = None
        self._where = where
        self._server = self._listen() if listen else None
        self._thread = threading.Thread(target=self._run, name="qemu-peer", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        assert self._server is not None
        number: int = self._server.getsockname()[1]
        return number

    # The guest.

    def exchange(self, command: bytes, timeout: float = PATIENCE) -> bytes:
        """What the guest's SCardTransmit gives; NotTransacted when the bridge said VSC_Error."""
        self.send_apdu(command)
        return self.answer(timeout)

    def answer(self, timeout: float = PATIENCE) -> bytes:
        """The next answer."""
        answer = self.answers.get(timeout=timeout)
        if answer is None:
            raise NotTransacted
        return answer

    def send_apdu(self, command: bytes) -> None:
        """An APDU of the guest."""
        with self._lock:
            self._pending += 1
            self.fatal = self.fatal or self._pending > PENDING_MAX
        self.send(APDU, 0, command)

    def send(self, kind: int, reader_id: int, payload: bytes) -> None:
        """A message, header and payload by two writes as ccid_card_vscard_send_msg does."""
        link = self._connected()
        link.sendall(HEADER.pack(kind, reader_id, len(payload)))
        if payload:
            link.sendall(payload)

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._connected().sendall(data)

    def _connected(self) -> socket.socket | TlsSocket:
        link = self._link
        if link is None:
            raise BrokenPipeError("nobody is connected")
        return link

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Wait until the bridge has made `condition` true."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"not within {timeout:g} s: {what}"

    def wait_card(self, timeout: float = PATIENCE) -> None:
        """Wait for an ATR."""
        self.wait_for(lambda: self.atr is not None, "a card", timeout)

    def wait_empty(self, timeout: float = PATIENCE) -> None:
        """Wait until the slot is empty."""
        self.wait_for(lambda: self.atr is None, "an empty slot", timeout)

    def types(self) -> list[int]:
        """The types of all messages so far."""
        with self._lock:
            return [message.type for message in self.received]

    def hang_up(self) -> None:
        """Close the connection as a dying process does; the next one may come."""
        with self._lock:
            link, self._link = self._link, None
            if link is not None:
                link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self.reading.set()
        if self._server is not None:
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            if isinstance(self._where, Path):
                self._where.unlink(missing_ok=True)
        self.hang_up()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    # The device.

    def _listen(self) -> socket.socket:
        if isinstance(self._where, Path):
            server = socket.socket(socket.AF_UNIX)
            server.bind(os.fspath(self._where))
        else:
            server = socket.create_server(self._where)
        server.listen(1)
        return server

    def _run(self) -> None:
        while not self._closed:
            try:
                link = self._accept()
            except OSError:
                if self._server is not None:
                    return
                time.sleep(RETRY)
                continue
            self._converse_securely(link)

    def _converse_securely(self, link: socket.socket) -> None:
        if self._secure is None:
            self._converse(link)
            return
        try:
            secured = self._secure(link)
        except OSError:
            link.close()
            time.sleep(RETRY)
        else:
            self._converse(secured)

    def _accept(self) -> socket.socket:
        if self._server is not None:
            return self._server.accept()[0]
        if isinstance(self._where, Path):
            link = socket.socket(socket.AF_UNIX)
            link.connect(os.fspath(self._where))
            return link
        return socket.create_connection(self._where)

    def _converse(self, link: socket.socket | TlsSocket) -> None:
        with self._changed:
            self._link = link
            self._pending = 0
            self.connections += 1
            self._changed.notify_all()
        self.connected.set()
        try:
            self._serve(link)
        except OSError:
            pass  # the bridge went away
        finally:
            self._lost(link)

    def _lost(self, link: socket.socket | TlsSocket) -> None:
        self.connected.clear()
        with self._changed:
            link.close()
            self._link = None
            self._changed.notify_all()

    def _serve(self, link: socket.socket | TlsSocket) -> None:
        data = b""
        while True:
            assert self.reading.wait(60)
            chunk = link.recv(4096)
            if not chunk:
                return
            data += chunk
            while len(data) >= HEADER.size:
                kind, reader_id, length = HEADER.unpack_from(data)
                if len(data) < HEADER.size + length:
                    break
                payload, data = data[HEADER.size : HEADER.size + length], data[HEADER.size + length :]
                self._take(Received(kind, reader_id, payload))

    def _take(self, message: Received) -> None:
        with self._changed:
            self.received.append(message)
            self._react(message)
            self._changed.notify_all()

    def _react(self, message: Received) -> None:
        if message.type == INIT:
            self._greet()
        elif message.type == APDU:
            self._finish(message.payload)
        elif message.type == ERROR:
            # ccid_card_card_error does nothing without a pending answer, and a greeting cannot know of any.
            if self._pending or not self._greeting:
                self._finish(None)
        elif self.fault is Fault.CUT:
            self.send_raw(HEADER.pack(ERROR, 0, 4)[:7])
            self.hang_up()
        elif self.fault is not Fault.NO_ACK:
            self._control(message)

    def _greet(self) -> None:
        self._greeting = True
        if self.fault is Fault.NO_INIT:
            return
        if self.fault is Fault.WRONG_MAGIC:
            self.send(INIT, UNDEFINED, b"SCDV" + INIT_PAYLOAD[4:])
        elif self.fault is Fault.HUGE:
            self.send_raw(HEADER.pack(INIT, UNDEFINED, 0x7FFF_FFFF))
        else:
            self.send(INIT, UNDEFINED, INIT_PAYLOAD)

    def _control(self, message: Received) -> None:
        code = 0
        if message.type == ATR:
            if self.fault is Fault.REFUSE_ATR:
                code = 1
            else:
                self.atr = message.payload
                self._pending = 0
        elif message.type in (CARD_REMOVE, READER_REMOVE):
            self.atr = None
            self._greeting = False
            self._pending = 0
        self.send(ERROR, 0 if message.type == READER_ADD else message.reader_id, struct.pack(">I", code))
        if message.type == ATR and self.fault is Fault.NO_READ:
            self.reading.clear()

    def _finish(self, answer: bytes | None) -> None:
        if not self._pending:
            self.unasked += 1
            return
        self._pending -= 1
        if answer is not None and len(answer) > ANSWER_MAX:
            self.dropped += 1
        else:
            self.answers.put(answer)
