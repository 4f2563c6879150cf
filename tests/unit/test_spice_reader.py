"""The reader of a smart card channel, as spice-server 0.15.1 treats it (smartcard-channel-client.cpp)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard import limits
from virtcard.bridge.effects import Effect, Send, Timer
from virtcard.bridge.session import Session, SessionState
from virtcard.bridge.spice.reader import Reader
from virtcard.card.base import Transmission
from virtcard.errors import PeerError
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import Decoder as SpiceDecoder
from virtcard.wire.spice import Message as SpiceMessage
from virtcard.wire.spicecard import encode_card, parse_card
from virtcard.wire.vscard import UNDEFINED_READER_ID, Decoder, ErrorCode, Init, Message, MessageType, encode_error

ADD = Message(MessageType.READER_ADD, UNDEFINED_READER_ID)
SUCCESS = Message(MessageType.ERROR, 0, bytes(4))
NO_MORE_READERS = bytes.fromhex("02000000")
"""The server's own Error, in the order of its host."""


def from_server(message: Message) -> SpiceMessage:
    (found,) = SpiceDecoder().feed(encode_card(message))
    return found


def to_server(data: bytes) -> list[Message]:
    return [parse_card(message.payload) for message in SpiceDecoder().feed(data)]


@pytest.fixture
def reader() -> Reader:
    """After the server has acknowledged ReaderAdd."""
    reader = Reader()
    reader.from_session(ADD.encode())
    reader.from_server(from_server(SUCCESS))
    return reader


def test_init_is_answered_here_since_the_server_says_none() -> None:
    init = Message(MessageType.INIT, UNDEFINED_READER_ID, Init().encode())
    server, session = Reader().from_session(init.encode())
    assert server == b""
    assert Decoder().feed(session) == [init]


@pytest.mark.parametrize("kind", [MessageType.ERROR, MessageType.ATR, MessageType.CARD_REMOVE, MessageType.APDU])
def test_before_the_reader_is_added_nothing_reaches_the_server_that_would_end_qemu(kind: MessageType) -> None:
    reader = Reader()
    assert reader.from_session(Message(kind, 0, bytes(4)).encode()) == (b"", b"")
    assert to_server(reader.from_session(ADD.encode())[0]) == [ADD]
    assert reader.from_session(Message(kind, 0, bytes(4)).encode()) == (b"", b"")


def test_removing_a_reader_that_was_not_added_is_acknowledged_here() -> None:
    server, session = Reader().from_session(Message(MessageType.READER_REMOVE).encode())
    assert server == b""
    assert Decoder().feed(session) == [SUCCESS]


@pytest.mark.parametrize("code", [NO_MORE_READERS, bytes.fromhex("00000001")])
def test_a_server_without_a_free_reader_is_an_error_of_the_peer(code: bytes) -> None:
    reader = Reader()
    reader.from_session(ADD.encode())
    with pytest.raises(PeerError, match="another client's card"):
        reader.from_server(from_server(Message(MessageType.ERROR, 0xFFFF_FFFF, code)))


class Conversation:
    """A session whose messages go through a reader to a server that acknowledges what it is asked."""

    def __init__(self) -> None:
        self.session = Session()
        self.sent: list[Message] = []
        self._reader = Reader()

    def run(self, effects: list[Effect]) -> SessionState:
        for effect in effects:
            if isinstance(effect, Send):
                server, back = self._reader.from_session(effect.data)
                self.sent += to_server(server)
                self.run(self.session.feed(back))
        return self.session.state

    def acknowledge(self) -> SessionState:
        return self.run(self.session.feed(self._reader.from_server(from_server(SUCCESS))[1]))


def test_a_session_comes_to_its_card_and_takes_leave() -> None:
    talk = Conversation()
    session = talk.session
    states = [
        talk.run(session.start()),
        talk.run(session.expired(Timer.QUIET)),
        talk.acknowledge(),
        talk.run(session.insert(bytes.fromhex("3b00"), Transmission.T0)),
        talk.run(session.expired(Timer.GAP)),
        talk.acknowledge(),
        talk.run(session.close()),
        talk.run(session.expired(Timer.QUIET)),
        talk.acknowledge(),
        talk.acknowledge(),
    ]
    state = SessionState
    assert states[:4] == [state.SETTLING, state.ADDING, state.EMPTY, state.WAITING]
    assert states[4:8] == [state.INSERTING, state.INSERTED, state.EJECTING, state.REMOVING]
    assert states[8:] == [state.LEAVING, state.FINISHED]
    kinds = [message.type for message in talk.sent]
    assert kinds == [MessageType.READER_ADD, MessageType.ATR, MessageType.CARD_REMOVE, MessageType.READER_REMOVE]


def test_an_apdu_of_270_bytes_reaches_the_session_and_one_more_is_a_wrong_length(reader: Reader) -> None:
    longest = Message(MessageType.APDU, 0, bytes(limits.SPICE_C_APDU_MAX))
    assert reader.from_server(from_server(longest)) == (b"", longest.encode())
    reader.from_session(Message(MessageType.APDU, 0, bytes.fromhex("9000")).encode())
    server, session = reader.from_server(from_server(Message(MessageType.APDU, 0, bytes(271))))
    assert session == b""
    assert to_server(server) == [Message(MessageType.APDU, 0, bytes.fromhex("6700"))]


def test_a_long_command_out_of_turn_breaks_the_protocol(reader: Reader) -> None:
    reader.from_server(from_server(Message(MessageType.APDU, 0, bytes(5))))
    with pytest.raises(Malformed):
        reader.from_server(from_server(Message(MessageType.APDU, 0, bytes(271))))


@pytest.mark.parametrize(
    "answer", [Message(MessageType.APDU, 0, bytes.fromhex("9000")), Message(MessageType.ERROR, 0, bytes(4))]
)
def test_after_an_answer_or_an_error_it_is_the_next_command_s_turn(reader: Reader, answer: Message) -> None:
    reader.from_server(from_server(Message(MessageType.APDU, 0, bytes(5))))
    reader.from_session(answer.encode())
    assert to_server(reader.from_server(from_server(Message(MessageType.APDU, 0, bytes(300))))[0])


def test_after_the_reader_is_removed_nothing_more_leaves(reader: Reader) -> None:
    assert to_server(reader.from_session(Message(MessageType.READER_REMOVE).encode())[0])
    assert reader.from_session(encode_error(ErrorCode.GENERAL_ERROR))[0] == b""


def test_messages_of_other_kinds_are_passed_over(reader: Reader) -> None:
    assert reader.from_server(SpiceMessage(102, bytes(4))) == (b"", b"")


@given(st.lists(st.binary(min_size=0, max_size=300), max_size=6))
def test_whatever_the_server_sends_is_passed_on_or_malformed(payloads: list[bytes]) -> None:
    reader = Reader()
    for payload in payloads:
        try:
            _, session = reader.from_server(SpiceMessage(101, payload))
        except Malformed:
            return
        assert len(session) in {0, len(payload)}
