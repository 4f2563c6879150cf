"""A card for bridge tests: it answers what it is told, blocks where it is told, and remembers what was done to it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from virtcard.card.base import CardEvent, CardListener, Transmission

ATR = bytes.fromhex("3b08") + b"fakecard"
OK = b"\x90\x00"

Answer = bytes | BaseException | Callable[[bytes], bytes]


class FakeCard:
    """`answers` by command (then `default`); `power_ons` are ATRs or errors in turn, then ATR for ever.

    `gate` is open until a test clears it: transmit waits in front of it, power_on in front of `power_gate`.
    """

    def __init__(self, answers: dict[bytes, Answer] | None = None, default: Answer = OK) -> None:
        self.answers = answers or {}
        self.default = default
        self.power_ons: list[bytes | BaseException] = []
        self.atr = ATR
        self.gate = _open_gate()
        self.power_gate = _open_gate()
        self.waiting = threading.Event()
        self.commands: list[bytes] = []
        self.calls: list[str] = []
        self.listener: CardListener | None = None
        self.during_power_on: Callable[[], None] = lambda: None
        self.inside = 0
        self.most_inside = 0
        self.transmission = Transmission.T0

    @property
    def on(self) -> bool:
        """It was powered on, and not off since."""
        powers = [call for call in self.calls if call in ("power_on", "power_off")]
        return bool(powers) and powers[-1] == "power_on"

    def power_on(self) -> bytes:
        """The next of `power_ons`."""
        with _Inside(self):
            self.calls.append("power_on")
            self.during_power_on()
            _pass(self.power_gate, self.waiting)
            atr = self.power_ons.pop(0) if self.power_ons else self.atr
        if isinstance(atr, BaseException):
            raise atr
        return atr

    def transmit(self, command: bytes) -> bytes:
        """The scripted answer."""
        with _Inside(self):
            self.commands.append(command)
            _pass(self.gate, self.waiting)
            answer = self.answers.get(command, self.default)
            if isinstance(answer, BaseException):
                raise answer
            return answer if isinstance(answer, bytes) else answer(command)

    def reset(self) -> bytes:
        """The ATR."""
        self.calls.append("reset")
        return self.atr

    def power_off(self) -> None:
        """Only noted."""
        with _Inside(self):
            self.calls.append("power_off")

    def listen(self, listener: CardListener | None) -> None:
        """Keep the listener."""
        self.listener = listener

    def report(self, event: CardEvent) -> None:
        """An event, as from a reader's watcher."""
        assert self.listener is not None
        self.listener(event)


class _Inside:
    """Counts the threads inside a card."""

    def __init__(self, card: FakeCard) -> None:
        self._card = card

    def __enter__(self) -> None:
        self._card.inside += 1
        self._card.most_inside = max(self._card.most_inside, self._card.inside)

    def __exit__(self, *_error: object) -> None:
        self._card.inside -= 1


def _open_gate() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


def _pass(gate: threading.Event, waiting: threading.Event) -> None:
    if not gate.is_set():
        waiting.set()
        assert gate.wait(30), "the test never opened the gate"
        waiting.clear()
