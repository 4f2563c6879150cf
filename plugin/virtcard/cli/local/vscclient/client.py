"""The running vscclient: a bridge, and commands from standard input.

Everything arrives in one queue (lines, statuses, signals), so that one thread does everything in order.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType
from typing import Final

from virtcard.bridge.endpoint import Endpoint, parse_endpoint
from virtcard.bridge.runner import Bridge, BridgeState, BridgeStatus
from virtcard.cli.local.vscclient.arguments import Arguments
from virtcard.cli.local.vscclient.cards import NamedCard
from virtcard.cli.screen import complain, say, warn
from virtcard.limits import ACK_PATIENCE, EJECT_PATIENCE

COMMANDS: Final = "Commands: insert, remove, select N, list, debug [N], exit."
NOT_CONNECTED: Final = 5
_LEAVE_PATIENCE: Final = EJECT_PATIENCE + 2 * ACK_PATIENCE
_STDIN: Final = 0
_CHUNK: Final = 4096
"""Bytes; a line has not so many."""
_SIGNALLED: Final = 128
"""Added to the number of a signal, as a shell reports it."""
_REACHED: Final = frozenset({BridgeState.EMPTY, BridgeState.INSERTING, BridgeState.INSERTED})


@dataclass(frozen=True, slots=True)
class Signalled:
    """Somebody wants us to end."""

    number: int


class Client:
    """One bridge and the cards that may sit in it."""

    def __init__(self, wanted: Arguments, cards: tuple[NamedCard, ...]) -> None:
        self._cards = cards
        self._selected = self._inserted = 0
        self._is_in = False
        self._reached = False
        self._events: SimpleQueue[str | BridgeStatus | Signalled] = SimpleQueue()
        self._bridge = Bridge(_endpoint(wanted), self._events.put, reconnect=wanted.reconnect)
        _set_level(wanted.debug)

    def run(self) -> int:
        """Serve until QEMU goes away, `exit`, Ctrl-C or SIGTERM; the exit code."""
        with _signals(self._events):
            self._bridge.start()
            self._insert()
            threading.Thread(target=_read_lines, args=(self._events,), name="vscclient-stdin", daemon=True).start()
            code = self._loop()
            self._bridge.stop()
            if not self._bridge.join(_LEAVE_PATIENCE):
                warn("The virtual machine did not confirm that the card is out.")
            return code

    def _loop(self) -> int:
        while True:
            match self._events.get():
                case Signalled(number):
                    return 0 if number == signal.SIGTERM else _SIGNALLED + number
                case BridgeStatus() as status if (code := self._heard(status)) is not None:
                    return code
                case str(line) if line.split()[:1] == ["exit"]:
                    return 0
                case str(line):
                    self._obey(line.split())

    def _heard(self, status: BridgeStatus) -> int | None:
        """The exit code when the bridge has ended."""
        self._reached = self._reached or status.state in _REACHED
        if status.state is BridgeState.INSERTED:
            say(f"{self._cards[self._inserted].name} is in the virtual reader.")
            sys.stdout.flush()
        if status.state is not BridgeState.CLOSED:
            if status.last_error:
                warn(status.last_error)
            return None
        if self._reached:
            complain(status.last_error or "QEMU has gone away.", who="vscclient")
            return 0
        complain(status.last_error or "There is no QEMU.", "Start QEMU first, or give --reconnect.", who="vscclient")
        return NOT_CONNECTED

    def _obey(self, words: list[str]) -> None:
        match words:
            case []:
                return
            case ["insert"]:
                self._insert()
            case ["remove"]:
                self._is_in = False
                self._bridge.eject()
            case ["select", number] if number.isdecimal() and int(number) < len(self._cards):
                self._selected = int(number)
            case ["list"]:
                self._list()
            case ["debug"]:
                _set_level(1)
            case ["debug", level] if level.isdecimal():
                _set_level(int(level))
            case _:
                say(COMMANDS)
        sys.stdout.flush()

    def _insert(self) -> None:
        """The selected card, unless it is in."""
        if self._is_in and self._inserted == self._selected:
            return
        self._inserted, self._is_in = self._selected, True
        self._bridge.insert(self._cards[self._selected].make())

    def _list(self) -> None:
        for number, card in enumerate(self._cards):
            mark = "*" if number == self._selected else " "
            state = "in the virtual reader" if self._is_in and number == self._inserted else "out"
            say(f"{mark}{number:3} {card.name} ({state})")


def _endpoint(wanted: Arguments) -> Endpoint:
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    return parse_endpoint(f"tcp://{host}:{wanted.port}")


def _read_lines(events: SimpleQueue[str | BridgeStatus | Signalled]) -> None:
    """The end of standard input ends nothing: the command may have been started without one.

    Not through `sys.stdin`, whose lock a thread that waits in it would hold when Python ends.
    """
    rest = b""
    with suppress(OSError):
        while chunk := os.read(_STDIN, _CHUNK):
            *lines, rest = (rest + chunk)[-_CHUNK:].split(b"\n")
            for line in lines:
                events.put(line.decode(errors="replace"))


def _set_level(debug: int) -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("virtcard").setLevel(logging.DEBUG if debug else logging.WARNING)


@contextmanager
def _signals(events: SimpleQueue[str | BridgeStatus | Signalled]) -> Iterator[None]:
    """Ctrl-C and SIGTERM come through the queue, and the card leaves in order."""

    def tell(number: int, frame: FrameType | None) -> None:
        del frame
        events.put(Signalled(number))

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, tell) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
