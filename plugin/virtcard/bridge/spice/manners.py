"""What every SPICE channel expects of a client, sans-IO: pings are answered, windows are acknowledged."""

from __future__ import annotations

from virtcard.wire.spice import (
    NEED_FLUSH,
    ClientMessage,
    Decoder,
    Message,
    ServerMessage,
    SetAck,
    encode,
    parse_migrate,
    pong,
)


class Manners:
    """One channel, from the first message to the last."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._window = 0
        self._unacknowledged = 0

    def feed(self, data: bytes) -> tuple[list[Message], bytes]:
        """The messages that concern the channel itself, and what is to be sent at once. Malformed."""
        messages, answers = [], b""
        for message in self._decoder.feed(data):
            answers += self._acknowledge() + self._answer(message)
            if message.type > max(ServerMessage):
                messages.append(message)
        return messages, answers

    def _acknowledge(self) -> bytes:
        """An ACK for each window; red-channel-client.cpp sends two of them ahead, and then waits."""
        self._unacknowledged += 1
        if not self._window or self._unacknowledged < self._window:
            return b""
        self._unacknowledged = 0
        return encode(ClientMessage.ACK)

    def _answer(self, message: Message) -> bytes:
        match message.type:
            case ServerMessage.PING:
                return pong(message.payload)
            case ServerMessage.SET_ACK:
                return self._set_window(SetAck.parse(message.payload))
            case ServerMessage.MIGRATE if parse_migrate(message.payload) & NEED_FLUSH:
                return encode(ClientMessage.MIGRATE_FLUSH_MARK)
            case _:
                return b""

    def _set_window(self, wanted: SetAck) -> bytes:
        self._window, self._unacknowledged = wanted.window, 0
        return wanted.sync()
