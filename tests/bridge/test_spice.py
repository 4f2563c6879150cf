"""A bridge to the smart card channel of a SPICE server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.bridges import Watched
from helpers.fake_card import FakeCard
from helpers.spice_server import (
    APDU,
    ATR,
    CARD_REMOVE,
    MAIN,
    READER_ADD,
    READER_REMOVE,
    SMARTCARD,
    WINDOW,
    Fault,
    NotTransacted,
    SpiceServer,
)
from virtcard import limits
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.runner import BridgeState
from virtcard.bridge.spice.settings import SpiceSettings

SELECT = bytes.fromhex("00A4040000")
DISPLAY = 2


@pytest.fixture
def make_server(socket_path: Path, _nothing_is_leaked: None) -> Iterator[Callable[..., SpiceServer]]:
    servers: list[SpiceServer] = []

    def make(path: Path | None = socket_path, **options: object) -> SpiceServer:
        servers.append(SpiceServer(path, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield make
    for server in servers:
        server.close()
        assert server.fatal == []


@pytest.fixture
def server(make_server: Callable[..., SpiceServer]) -> SpiceServer:
    return make_server()


@pytest.fixture
def connect(make_bridge: Callable[..., Watched], socket_path: Path) -> Callable[..., Watched]:
    """A bridge with a card to a server on the unix socket of this test, which it may ask who is there."""

    def start(
        server: SpiceServer,
        *,
        card: FakeCard | None = None,
        blind: bool = False,
        reconnect: bool = True,
        **settings: object,
    ) -> Watched:
        spice = SpiceSettings(look=None if blind else server.clients, **settings)  # type: ignore[arg-type]
        watched = make_bridge(Endpoint(Scheme.SPICE_UNIX, path=str(socket_path)), spice=spice, reconnect=reconnect)
        watched.bridge.insert(card or FakeCard())
        return watched

    return start


@pytest.fixture
def watched(server: SpiceServer, connect: Callable[..., Watched]) -> Watched:
    """With its card in."""
    found = connect(server)
    server.wait_card()
    found.wait(BridgeState.INSERTED)
    return found


def test_the_guest_s_commands_reach_the_card(server: SpiceServer, watched: Watched) -> None:
    assert server.exchange(SELECT) == bytes.fromhex("9000")
    assert server.kinds == [READER_ADD, ATR, APDU]


def test_it_ends_in_order(server: SpiceServer, watched: Watched) -> None:
    watched.bridge.stop()
    assert watched.bridge.join(10)
    assert server.kinds == [READER_ADD, ATR, CARD_REMOVE, READER_REMOVE]
    server.wait_for(lambda: not server.connections, "the end of both channels")


def test_eject_and_insert_use_the_same_channel(server: SpiceServer, watched: Watched) -> None:
    before = server.card_channel()
    watched.bridge.eject()
    server.wait_empty()
    watched.bridge.insert(FakeCard())
    server.wait_card()
    assert server.card_channel() is before


def test_pings_are_answered_on_both_channels(server: SpiceServer, watched: Watched) -> None:
    for kind in (MAIN, SMARTCARD):
        pongs = server.channel(kind).pongs
        server.wait_for(pongs.copy, "a pong")
        assert len(pongs[0]) == 12


def test_windows_are_acknowledged_while_the_guest_works(server: SpiceServer, watched: Watched) -> None:
    for _ in range(8 * WINDOW):
        assert server.exchange(SELECT) == bytes.fromhex("9000")
    main = server.channel(MAIN)
    for _ in range(8 * WINDOW):
        server.send(main, 106, bytes(4))


def test_a_command_of_271_bytes_is_a_wrong_length_and_never_reaches_the_card(
    server: SpiceServer, watched: Watched
) -> None:
    assert server.exchange(bytes.fromhex("00DB3FFF00010A") + bytes(264)) == bytes.fromhex("6700")
    assert watched.bridge.apdus == 0
    assert server.exchange(SELECT) == bytes.fromhex("9000")


@pytest.mark.parametrize("password", [b"ticket", "pässwörd".encode(), b"x" * 60])
def test_a_server_with_a_password(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched], password: bytes
) -> None:
    server = make_server(password=password)
    connect(server, password=password)
    server.wait_card()


def test_a_wrong_password_ends_it_and_throws_out_nobody(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched]
) -> None:
    server = make_server(password=b"right")
    watched = connect(server, password=b"wrong")
    watched.wait(BridgeState.CLOSED, error="does not accept the password")
    assert server.connections == []


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault.NO_CARD, "has no SPICE smart card"),
        (Fault.SECURE_ONLY, "takes this channel with TLS alone"),
        (Fault.SASL, "wants SASL"),
        (Fault.OLD, "before 2011"),
    ],
)
def test_a_server_with_which_it_will_never_work_ends_it(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched], fault: Fault, sentence: str
) -> None:
    connect(make_server(fault=fault)).wait(BridgeState.CLOSED, error=sentence)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault.NO_SPICE, "broke the SPICE protocol: who answers does not speak SPICE"),
        (Fault.NO_KEY, "gave no key for the password"),
        (Fault.HUGE, "announces more bytes"),
        (Fault.TAKEN, "another client's card is in"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_tried_again(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched], fault: Fault, sentence: str
) -> None:
    server = make_server(fault=fault)
    watched = connect(server)
    watched.wait(BridgeState.FAILED, error=sentence)
    server.fault = None
    server.wait_card()


def test_a_server_that_says_nothing_is_given_up(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECT_PATIENCE", 0.2)
    server = make_server(fault=Fault.SILENT)
    connect(server).wait(BridgeState.CONNECTING, error="does not answer")
    server.fault = None
    server.wait_card()


def test_a_machine_that_moved_ends_it_and_says_where_it_is(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched]
) -> None:
    connect(make_server(fault=Fault.MOVED)).wait(BridgeState.CLOSED, error="has moved to other")


# Viewers.


def test_beside_a_viewer_it_joins_that_session(server: SpiceServer, connect: Callable[..., Watched]) -> None:
    viewer = server.viewer_comes(DISPLAY)
    connect(server)
    server.wait_card()
    assert server.exchange(SELECT) == bytes.fromhex("9000")
    assert [(one.kind, one.session) for one in server.connections] == [(SMARTCARD, viewer)]
    assert server.viewers
    assert server.thrown_out == 0


def test_when_the_viewer_leaves_the_session_becomes_our_own(
    server: SpiceServer, connect: Callable[..., Watched]
) -> None:
    server.viewer_comes(DISPLAY)
    watched = connect(server)
    server.wait_card()
    server.viewer_leaves()
    watched.wait_error("The viewer's session has ended")
    server.wait_for(lambda: len(server.connections) == 2 and server.atr, "a session of our own")


def test_when_a_viewer_comes_the_card_goes_on_beside_it(
    server: SpiceServer, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPICE_VIEWER_SETTLE", 0.3)
    viewer = server.viewer_comes(DISPLAY)
    server.wait_for(lambda: any(one.session == viewer for one in server.connections), "a channel beside the viewer")
    server.wait_card()
    assert server.viewers
    assert server.thrown_out == 0


def test_a_viewer_with_cards_of_its_own_is_left_alone(server: SpiceServer, connect: Callable[..., Watched]) -> None:
    server.viewer_comes(DISPLAY, SMARTCARD)
    connect(server).wait(BridgeState.CLOSED, error="shares its own smart cards")
    assert server.viewers


def test_a_viewer_with_cards_of_its_own_that_comes_later_is_waited_for(server: SpiceServer, watched: Watched) -> None:
    server.viewer_comes(DISPLAY, SMARTCARD)
    watched.wait_error("shares its own smart cards")
    assert server.viewers
    server.viewer_leaves()
    server.wait_card()


def test_take_over_throws_it_out_when_told_so(server: SpiceServer, connect: Callable[..., Watched]) -> None:
    server.viewer_comes(DISPLAY, SMARTCARD)
    connect(server, take_over=True)
    server.wait_card()
    assert server.thrown_out == 1


def test_who_cannot_look_stays_away(server: SpiceServer, connect: Callable[..., Watched]) -> None:
    server.viewer_comes(DISPLAY)
    connect(server, blind=True).wait(BridgeState.CLOSED, error="cannot see whether a viewer is connected")
    assert server.thrown_out == 0


def test_who_cannot_look_gives_way_to_a_viewer(server: SpiceServer, connect: Callable[..., Watched]) -> None:
    watched = connect(server, blind=True, take_over=True)
    server.wait_card()
    server.viewer_comes(DISPLAY)
    watched.wait(BridgeState.CLOSED, error="a viewer has come")
    assert server.viewers


def test_a_viewer_whose_card_s_channel_was_faster_is_not_disturbed(
    make_server: Callable[..., SpiceServer], connect: Callable[..., Watched]
) -> None:
    server = make_server(fault=Fault.DUPLICATE)
    server.viewer_comes(DISPLAY)
    connect(server).wait_error("The viewer's session has ended")
    assert server.viewers


# Faults.


def test_a_server_that_starts_anew_gets_the_card_again(
    server: SpiceServer, watched: Watched, make_server: Callable[..., SpiceServer], socket_path: Path
) -> None:
    server.close()
    watched.wait(BridgeState.CONNECTING)
    socket_path.unlink()
    again = make_server()
    again.wait_card()


def test_without_reconnect_the_end_of_the_server_is_the_end(
    server: SpiceServer, connect: Callable[..., Watched]
) -> None:
    watched = connect(server, reconnect=False)
    server.wait_card()
    server.close()
    watched.wait(BridgeState.CLOSED, error="ended")


def test_a_channel_that_is_cut_within_a_command_comes_back(
    server: SpiceServer, connect: Callable[..., Watched]
) -> None:
    card = FakeCard()
    connect(server, card=card)
    server.wait_card()
    card.gate.clear()
    server.send_apdu(SELECT)
    assert card.waiting.wait(10)
    server.card_channel().sock.shutdown(socket.SHUT_RDWR)
    server.wait_empty()
    card.gate.set()
    server.wait_card()
    assert server.exchange(SELECT) == bytes.fromhex("9000")
    assert server.answers.empty()


def test_a_card_that_hangs_is_an_error_for_the_guest(server: SpiceServer, connect: Callable[..., Watched]) -> None:
    card = FakeCard()
    connect(server, card=card)
    server.wait_card()
    card.gate.clear()
    with pytest.raises(NotTransacted):
        server.exchange(SELECT)
    card.gate.set()


def test_over_tcp_it_is_the_same(make_server: Callable[..., SpiceServer], make_bridge: Callable[..., Watched]) -> None:
    server = make_server(None)
    endpoint = Endpoint(Scheme.SPICE, host="127.0.0.1", port=server.port)
    watched = make_bridge(endpoint, spice=SpiceSettings(look=server.clients))
    watched.bridge.insert(FakeCard())
    server.wait_card()
    begin = time.monotonic()
    for _ in range(50):
        server.exchange(SELECT)
    assert time.monotonic() - begin < 1.5, "Nagle's algorithm costs 40 ms for each"
