"""The VSCard decoder: a stream means the same however it is cut, and little of it is kept."""

from __future__ import annotations

from typing import Final

from fuzz.choices import Choices
from virtcard import limits
from virtcard.wire.malformed import Malformed
from virtcard.wire.vscard import HEADER_BYTES, Decoder, Init, Message, MessageType, parse_error

CUTS_MAX: Final = 64
"""More cuts find no more, and take most of the time."""


def check(data: bytes) -> None:
    """A block that says where to cut, and the stream."""
    choices = Choices(data)
    cuts, stream = choices.block()[:CUTS_MAX], choices.take(len(data))
    whole, whole_is_sound = _decoded([stream])
    parts, parts_are_sound = _decoded(_cut(stream, cuts))
    assert whole_is_sound == parts_are_sound
    assert parts == whole if whole_is_sound else parts[: len(whole)] == whole
    for message in parts:
        _check_message(message)
    assert stream.startswith(b"".join(message.encode() for message in parts))


def _cut(stream: bytes, cuts: bytes) -> list[bytes]:
    parts = []
    for cut in cuts:
        parts.append(stream[:cut])
        stream = stream[cut:]
    return [*parts, stream]


def _decoded(parts: list[bytes]) -> tuple[list[Message], bool]:
    """The messages before the stream was lost, and whether it never was."""
    decoder = Decoder()
    messages: list[Message] = []
    for part in parts:
        try:
            messages += decoder.feed(part)
        except Malformed:
            return messages, False
        assert len(decoder._pending) <= HEADER_BYTES + limits.VSCARD_PAYLOAD_MAX
    return messages, True


def _check_message(message: Message) -> None:
    assert len(message.payload) <= limits.VSCARD_PAYLOAD_MAX
    try:
        match message.type:
            case MessageType.ERROR:
                parse_error(message.payload)
            case MessageType.INIT:
                assert Init.parse(message.payload).encode() == message.payload
            case _:
                pass
    except Malformed:
        pass
