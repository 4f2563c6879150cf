"""What a SPICE channel expects of every client (red-channel-client.cpp)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.bridge.spice.manners import Manners
from virtcard.bridge.spice.moved import on_main
from virtcard.errors import PeerRefuses
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import Decoder, Message, encode

PING = bytes.fromhex("01000000a255db8f04000000")
CARD = encode(101, bytes(12))


def answers(manners: Manners, data: bytes) -> list[Message]:
    return Decoder().feed(manners.feed(data)[1])


def test_a_ping_is_answered_by_its_id_and_time() -> None:
    messages, sent = Manners().feed(encode(4, PING + bytes(256_000)))
    assert messages == []
    assert Decoder().feed(sent) == [Message(3, PING)]


def test_messages_of_the_channel_come_out_and_common_ones_do_not() -> None:
    messages, sent = Manners().feed(encode(7, bytes(24)) + CARD + encode(2, bytes(60)) + encode(5, bytes(1)))
    assert messages == [Message(101, bytes(12))]
    assert sent == b""


def test_each_window_is_acknowledged_once() -> None:
    manners = Manners()
    assert answers(manners, encode(3, bytes.fromhex("07000000 03000000"))) == [Message(1, bytes.fromhex("07000000"))]
    assert [answers(manners, CARD) for _ in range(6)] == [[], [], [Message(2)], [], [], [Message(2)]]


def test_a_window_of_0_wants_no_acknowledgements() -> None:
    manners = Manners()
    manners.feed(encode(3, bytes.fromhex("07000000 01000000")))
    manners.feed(encode(3, bytes.fromhex("08000000 00000000")))
    assert answers(manners, CARD * 50) == []


@given(st.integers(1, 20), st.lists(st.integers(1, 40), max_size=10))
def test_no_message_is_acknowledged_twice_or_forgotten(window: int, bursts: list[int]) -> None:
    manners = Manners()
    manners.feed(encode(3, bytes(4) + window.to_bytes(4, "little")))
    acknowledged = sum(len(answers(manners, CARD * burst)) for burst in bursts)
    assert acknowledged == sum(bursts) // window


def test_a_channel_that_migrates_is_flushed_when_the_server_asks() -> None:
    assert answers(Manners(), encode(1, bytes.fromhex("03000000"))) == [Message(4)]
    assert answers(Manners(), encode(1, bytes(4))) == []


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_a_common_message_that_is_cut_short_is_malformed(kind: int) -> None:
    with pytest.raises(Malformed):
        Manners().feed(encode(kind, bytes(2)))


@pytest.mark.parametrize("kind", [101, 115])
def test_we_do_not_move_with_the_machine_and_say_so(kind: int) -> None:
    assert Decoder().feed(on_main(Message(kind, bytes(40)))) == [Message(103)]


@pytest.mark.parametrize(
    ("ports", "hint"),
    [
        ((5900, 0xFFFF), "spice://other.example:5900"),
        ((0xFFFF, 5901), "spice+tls://other.example:5901"),
        ((0, 5901), "spice+tls://other.example:5901"),
    ],
)
def test_a_machine_that_moved_ends_the_session_and_says_where_it_is(ports: tuple[int, int], hint: str) -> None:
    head = b"".join(port.to_bytes(2, "little") for port in ports)
    words = b"".join(number.to_bytes(4, "little") for number in (14, 20, 0, 0))
    with pytest.raises(PeerRefuses, match=r"moved to other\.example") as caught:
        on_main(Message(111, head + words + b"other.example\0"))
    assert hint in caught.value.hint


def test_the_rest_of_the_main_channel_concerns_nobody() -> None:
    assert on_main(Message(106, bytes(4))) == b""
