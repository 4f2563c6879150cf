"""What QEMU's ccid-card-passthru.c and dev-smartcard-reader.c do with VSCard, as far as a client can tell.

Faults that end or confuse a virtual machine fail the test here: the 129th pending answer, an answer that usb-ccid
drops or that shifts xHCI, a control message before the last was acknowledged, a CardRemove over a known APDU.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from virtcard.wire.vscard import (
    UNDEFINED_READER_ID,
    Decoder,
    ErrorCode,
    Init,
    Message,
    MessageType,
    encode,
    encode_error,
)

PENDING_ANSWERS = 128
BULK_IN_ANSWER_MAX = 374
MAX_ATR_SIZE = 40


def check_atr(atr: bytes) -> bool:
    """ccid-card-passthru.c, check_atr: it counts interface bytes over two levels at most."""
    if not 2 <= len(atr) <= MAX_ATR_SIZE or atr[0] not in (0x3B, 0x3F):
        return False
    needed = 2 + (atr[1] & 0x0F)
    follows = atr[1] >> 4
    position = 2
    for _level in range(2):
        needed += follows.bit_count()
        position += follows.bit_count()
        if not follows & 8 or position > len(atr):
            break
        follows = atr[position - 1] >> 4
    return len(atr) >= needed


@dataclass
class Answer:
    """What the guest got for a command: the bytes, or None for VSC_Error."""

    command: bytes
    response: bytes | None


@dataclass
class CcidModel:
    """The device and its parser. `outgoing` is what waits for the client."""

    unsolicited_init: bool = False
    outgoing: bytearray = field(default_factory=bytearray)
    pending: deque[bytes] = field(default_factory=deque)
    answers: list[Answer] = field(default_factory=list)
    flushed: int = 0
    dropped: int = 0
    atr: bytes = b""
    _decoder: Decoder = field(default_factory=Decoder)
    _sent: int = 0
    _acknowledged_at: int = 0
    _pending_ends: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        if self.unsolicited_init:
            self._send(encode(MessageType.INIT, Init().encode(), UNDEFINED_READER_ID))

    def guest_sends(self, command: bytes) -> bool:
        """The guest sends an XfrBlock; without a card usb-ccid answers it alone."""
        if not self.atr:
            return False
        assert len(self.pending) < PENDING_ANSWERS, "QEMU aborts: too many pending answers"
        self.pending.append(command)
        self._send(encode(MessageType.APDU, command))
        self._pending_ends.append(self._sent)
        return True

    def leave_unanswered(self, command: bytes) -> None:
        """A client that took this command died with its card in."""
        self.atr = b"\x3b\x00"
        self.pending.append(command)
        self._pending_ends.append(self._sent)

    def take(self, count: int | None = None) -> bytes:
        """The next bytes for the client, or all of them."""
        data = bytes(self.outgoing[:count])
        del self.outgoing[:count]
        return data

    def receive(self, data: bytes) -> None:
        """Bytes of the client."""
        for message in self._decoder.feed(data):
            self._handle(message)

    @property
    def _delivered(self) -> int:
        return self._sent - len(self.outgoing)

    def _handle(self, message: Message) -> None:
        match message.type:
            case MessageType.APDU:
                self._answered(message.payload)
            case MessageType.ERROR:
                self._answered(None)
            case MessageType.INIT:
                self._send(encode(MessageType.INIT, Init().encode(), UNDEFINED_READER_ID))
            case MessageType.ATR:
                taken = check_atr(message.payload)
                if taken:
                    self._flush(message.payload)
                self._acknowledge(message.reader_id, ErrorCode.SUCCESS if taken else ErrorCode.GENERAL_ERROR)
            case MessageType.CARD_REMOVE | MessageType.READER_REMOVE:
                self._flush(b"")
                self._acknowledge(message.reader_id)
            case MessageType.READER_ADD:
                self._acknowledge(0)
            case _:
                self._acknowledge(message.reader_id, ErrorCode.GENERAL_ERROR)

    def _answered(self, response: bytes | None) -> None:
        if response is not None:
            assert 2 <= len(response) <= BULK_IN_ANSWER_MAX
            assert (len(response) + 10) % 64, "xHCI shifts every later answer"
        if self.pending:
            self._pending_ends.popleft()
            self.answers.append(Answer(self.pending.popleft(), response))
        else:
            self.dropped += 1

    def _flush(self, atr: bytes) -> None:
        assert all(end > self._delivered for end in self._pending_ends), "the guest waits for what CardRemove wiped"
        self.flushed += len(self.pending)
        self.pending.clear()
        self._pending_ends.clear()
        self.atr = atr

    def _acknowledge(self, reader_id: int, code: ErrorCode = ErrorCode.SUCCESS) -> None:
        assert self._delivered >= self._acknowledged_at, "a control message before the last was acknowledged"
        self._send(encode_error(code, reader_id))
        self._acknowledged_at = self._sent

    def _send(self, data: bytes) -> None:
        self.outgoing += data
        self._sent += len(data)
