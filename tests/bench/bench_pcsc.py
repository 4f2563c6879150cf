"""What a command to a card in a host reader costs: pcscd and vpcd alone, through ReaderCard, through a whole bridge.

As in real life the card, pcscd, the bridge and QEMU are processes of their own. By turns in one run, so that a busy
moment of the machine hits all of them. The card answers in no time, where a real one takes milliseconds.

The relay is the least that any program between QEMU and pcscd must do, in Python: a dozen lines without a session, a
lock, a timeout or a check. Its ratio is what a bridge could reach at best.
"""

from __future__ import annotations

import multiprocessing
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter

from smartcard import scard

from helpers.pcsc_lab import Lab, running_lab
from helpers.pcscd import READERS
from helpers.scripted_card import ATR_T1, OK, VERIFY, ScriptedCard
from helpers.vpcd import serve
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.reader_card import ReaderCard
from virtcard.errors import CardWasReset

HEADER = struct.Struct(">III")
INIT, ERROR, READER_ADD, _, ATR, _, APDU = range(1, 8)

ROUNDS = 40
COMMANDS = 50
"""Commands of one turn; every command is timed for itself."""

PROCESSES = multiprocessing.get_context("spawn")

Turn = Callable[[], list[float]]
"""Sends COMMANDS commands and returns the seconds of each."""


def run() -> dict[str, float]:
    """Medians in microseconds of one short command; their ratios to a bare SCardTransmit; what the bridge adds."""
    with running_lab() as lab, _plugged(lab), _device() as (path, line), _device() as (relay_path, relay_line):
        card = lab.card()
        card.power_on()
        with _bridged(lab, path):
            line.recv()
            with suppress(CardWasReset):
                card.transmit(VERIFY)  # hears of the bridge's reset, and has it behind itself
            threading.Thread(target=_relay, args=(lab, relay_path), daemon=True).start()
            relay_line.recv()
            return _measure(
                {
                    "direct": _direct(lab),
                    "reader": _reader(card),
                    "relay": lambda: _ask(relay_line),
                    "bridge": lambda: _ask(line),
                }
            )


def _measure(turns: dict[str, Turn]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, turn in turns.items():
            times[name] += turn()
    medians = {name: median(values) * 1e6 for name, values in times.items()}
    direct = medians["direct"]
    return {f"pcsc_{name}_us": value for name, value in medians.items()} | {
        "pcsc_reader_ratio": medians["reader"] / direct,
        "pcsc_relay_ratio": medians["relay"] / direct,
        "pcsc_bridge_ratio": medians["bridge"] / direct,
        "pcsc_bridge_adds_us": medians["bridge"] - direct,
    }


def _timed(command: Callable[[], bool]) -> list[float]:
    times = []
    for _ in range(COMMANDS):
        begin = perf_counter()
        right = command()
        times.append(perf_counter() - begin)
        if not right:
            raise AssertionError("the card did not accept the PIN")
    return times


def _direct(lab: Lab) -> Turn:
    """pyscard's raw call with its list of numbers.

    In the context of the other ways: pcscd has one thread for each, and two threads may cost 30 and 110 microseconds in
    the same run, by the cores they happen to sit on.
    """
    handle = lab.contexts.acquire(READERS[0]).connect(READERS[0])
    number, protocol = handle._handle, handle._protocol
    command, expected = list(VERIFY), [scard.SCARD_S_SUCCESS, list(OK)]
    return lambda: _timed(lambda: scard.SCardTransmit(number, protocol, command) == expected)


def _reader(card: ReaderCard) -> Turn:
    return lambda: _timed(lambda: card.transmit(VERIFY) == OK)


def _relay(lab: Lab, path: Path) -> None:
    handle = lab.contexts.acquire(READERS[0]).connect(READERS[0])
    number, protocol = handle._handle, handle._protocol
    link = _connected(path)
    link.sendall(HEADER.pack(ATR, 0, len(ATR_T1)) + ATR_T1)
    link.recv(HEADER.size + 4, socket.MSG_WAITALL)
    received = b""
    while data := link.recv(4096):
        received += data
        if len(received) == HEADER.size + len(VERIFY):
            _, answer = scard.SCardTransmit(number, protocol, list(received[HEADER.size :]))
            received = b""
            link.send(HEADER.pack(APDU, 0, len(answer)) + bytes(answer))


def _connected(path: Path) -> socket.socket:
    while True:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(str(path))
        except OSError:
            link.close()
            time.sleep(0.01)  # the device is on its way
        else:
            return link


def _ask(line: Connection) -> list[float]:
    line.send(True)
    times: list[float] = line.recv()
    return times


@contextmanager
def _bridged(lab: Lab, path: Path) -> Iterator[None]:
    bridge = Bridge(Endpoint.unix(str(path)), lambda status: None)
    bridge.start()
    bridge.insert(lab.card())
    try:
        yield
    finally:
        bridge.stop()


@contextmanager
def _process(target: Callable[..., None], *arguments: object) -> Iterator[None]:
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


@contextmanager
def _plugged(lab: Lab) -> Iterator[None]:
    with _process(_be_card, lab.pcscd.port):
        lab.seen(ATR_T1)
        yield


@contextmanager
def _device() -> Iterator[tuple[Path, Connection]]:
    """QEMU's socket, and the line on which it tells that the card is in, and then the times of each turn."""
    ours, theirs = PROCESSES.Pipe()
    with tempfile.TemporaryDirectory() as directory, _process(_be_device, Path(directory) / "vm.sock", theirs):
        yield Path(directory) / "vm.sock", ours


def _be_card(port: int) -> None:
    serve(port, ScriptedCard(ATR_T1))


def _be_device(path: Path, line: Connection) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)
    device = Device(server.accept()[0])
    device.greet()
    line.send(True)
    while line.recv():
        line.send(_timed(device.verify))


class Device:
    """QEMU's side of the socket in the fewest steps: header and payload in two writes, as QEMU sends them."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def greet(self) -> None:
        """Acknowledge what the bridge says until the card is in."""
        kind = 0
        while kind != ATR:
            kind, payload = self._receive()
            if kind == INIT:
                self._send(INIT, payload)
            elif kind != ERROR:
                self._send(ERROR, bytes(4))

    def verify(self) -> bool:
        """One command, as the guest's reader sends it."""
        self._send(APDU, VERIFY)
        return self._receive() == (APDU, OK)

    def _send(self, kind: int, payload: bytes) -> None:
        self._line.sendall(HEADER.pack(kind, 0, len(payload)))
        self._line.sendall(payload)

    def _receive(self) -> tuple[int, bytes]:
        kind, _, length = HEADER.unpack(self._line.recv(HEADER.size, socket.MSG_WAITALL))
        return kind, self._line.recv(length, socket.MSG_WAITALL) if length else b""


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<20} {value:8.2f}")
