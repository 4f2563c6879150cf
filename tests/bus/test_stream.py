"""Incoming messages: one that does not parse costs itself and nothing else."""

from __future__ import annotations

from io import BytesIO

import pytest
from dbus_next._private.marshaller import Marshaller
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.constants import MessageType
from dbus_next.errors import InvalidMessageError
from dbus_next.message import Message
from dbus_next.signature import SignatureTree, Variant

from helpers.bus import PrivateBus, run_async
from helpers.exported import INTERFACE, PATH, Sample
from helpers.peers import ask, mended
from virtcard.bus.stream import SIGNATURES_MAX, WholeMessage


def message_with_unknown_field() -> bytes:
    """A call with a header field of no known specification, which receivers must ignore (dbus-daemon 1.14 drops it)."""
    fields = [[1, Variant("o", PATH)], [3, Variant("s", "Odd")], [200, Variant("s", "unknown")]]
    header = Marshaller("yyyyuua(yv)", [ord("l"), MessageType.METHOD_CALL.value, 0, 1, 0, 1, fields])
    header.marshall()
    header.align(8)
    return bytes(header.buffer)


def test_a_message_with_an_unknown_field_costs_that_message_only() -> None:
    call = Message("a.b", PATH, INTERFACE, "Good", serial=2)
    stream = BytesIO(message_with_unknown_field() + call._marshall())
    first, second = WholeMessage(stream), WholeMessage(stream)
    assert first.fetch()
    assert first.parse() is None
    assert second.fetch()
    good = second.parse()
    assert good is not None
    assert good.member == "Good"


def test_a_message_with_an_unknown_field_raises_in_the_reader_when_unmended() -> None:
    with pytest.raises(ValueError, match="200 is not a valid HeaderField"):
        Unmarshaller(BytesIO(message_with_unknown_field())).unmarshall()


@pytest.mark.parametrize("header", [b"x" * 16, b"l\1\0\1" + b"\xff" * 12, b"B\1\0\1" + b"\xff" * 12])
def test_a_stream_without_message_boundaries_is_given_up(header: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        WholeMessage(BytesIO(header)).fetch()


def test_signatures_of_peers_are_not_kept_for_ever(private: PrivateBus) -> None:
    async def test() -> None:
        for number in range(2 * SIGNATURES_MAX):
            SignatureTree._get("s" + "".join("iu"[number >> bit & 1] for bit in range(12)))
        daemon, peer = await mended(private), await mended(private)
        daemon.export(PATH, Sample())
        assert await ask(peer, daemon, "Sender") == [peer.unique_name]
        assert len(SignatureTree._cache) <= SIGNATURES_MAX

    run_async(test())


def test_a_message_may_come_byte_by_byte() -> None:
    call = Message("a.b", "/", "c.d", "E", signature="a{sv}s", body=[{}, "text"], serial=7)

    class Dripping:
        def __init__(self) -> None:
            self.rest = bytes(call._marshall())
            self.turn = False

        def read(self, _: int) -> bytes | None:
            self.turn = not self.turn
            if not self.turn:
                return None
            byte, self.rest = self.rest[:1], self.rest[1:]
            return byte

    incoming = WholeMessage(Dripping())
    for _ in range(10_000):
        if incoming.fetch():
            break
    message = incoming.parse()
    assert message is not None
    assert (message.member, message.body, message.serial) == ("E", [{}, "text"], 7)
