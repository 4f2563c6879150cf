"""A live trace of what a bridge asks its card, as a capture for Wireshark. PINs are masked before anything is kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from virtcard import limits
from virtcard.version import VERSION
from virtcard.wire import pcapng
from virtcard.wire.apdu import Sw
from virtcard.wire.instructions import instruction_name
from virtcard.wire.pcapng import Packet

Mask = Callable[[bytes], bytes]
"""Gives a command without the PIN in it. One for each trace, since chained commands belong together."""

_Waiting = tuple[Packet, bytes, int, str, int]

_STATUS_NAMES: Final = {each.value: each.name.replace("_", " ") for each in Sw}
_NO_ANSWER: Final = "The card gave no answer to the command before. "


class Trace:
    """Between a bridge's thread, which tells and never waits, and somebody who takes.

    Bounded: what does not fit is lost and counted. `wake` is called from the bridge's thread when there is something to
    take again."""

    def __init__(self, mask: Mask, wake: Callable[[], None], clock: Callable[[], int] = time.time_ns) -> None:
        self._mask = mask
        self._wake = wake
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._asleep = True
        self._name = ""
        self._note = ""
        self._bytes_in = self._bytes_out = 0
        self._lost_before = 0
        self.commands = self.received = self.dropped = 0

    # The bridge's thread.

    def powered(self, atr: bytes) -> None:
        """A card came, or was reset."""
        self._put(Packet.ATR, atr, "ATR")

    def command(self, command: bytes) -> None:
        """A command goes to the card."""
        self.commands += 1
        self._name = instruction_name(command[1])
        self._put(Packet.COMMAND, self._mask(command), self._name)

    def response(self, response: bytes) -> None:
        """Its answer."""
        self._put(Packet.RESPONSE, response, f"{self._name}: {status(response)}")

    def failed(self) -> None:
        """There is none."""
        self._note = _NO_ANSWER

    def refused(self, header: bytes, reason: str) -> None:
        """The guard kept a command from the card; its data, if it had any, are not told."""
        self.commands += 1
        name = instruction_name(header[1]) if len(header) > 1 else "A command"
        self._put(Packet.COMMAND, header, f"{name}: refused by the guard ({reason})")

    def _put(self, kind: Packet, data: bytes, comment: str) -> None:
        self.received += 1
        full = len(self._waiting) >= limits.TRACE_PACKETS_MAX
        if full or self._bytes_in - self._bytes_out + len(data) > limits.TRACE_BYTES_MAX:
            self.dropped += 1
            self._lost_before += 1
            return
        self._bytes_in += len(data)
        self._waiting.append((kind, data, self._clock() // 1000, self._note + comment, self._lost_before))
        self._note, self._lost_before = "", 0
        if self._asleep:
            self._asleep = False
            self._wake()

    # Who takes.

    def begin(self, name: str) -> bytes:
        """The beginning of the capture; `name` is the domain's."""
        return pcapng.header(f"virtcard {VERSION}", name)

    def take(self) -> bytes:
        """Some of what waits, empty for nothing: `wake` tells of the next."""
        self._asleep = True
        taken = bytearray()
        while self._waiting and len(taken) < limits.TRACE_CHUNK:
            waiting = self._waiting.popleft()
            self._bytes_out += len(waiting[1])
            taken += pcapng.packet(*waiting)
        return bytes(taken)

    def end(self) -> bytes:
        """The end of the capture, with its counts."""
        return pcapng.statistics(self._clock() // 1000, self.received, self.dropped)


def status(response: bytes) -> str:
    """The status word, with its name if it has one: "6982 SECURITY STATUS NOT SATISFIED"."""
    word = int.from_bytes(response[-2:], "big")
    return f"{word:04X} {_STATUS_NAMES.get(word, '')}".rstrip()
