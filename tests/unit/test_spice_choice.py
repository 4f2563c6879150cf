"""Whose session a card joins: beside a viewer, in one of its own, or none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from virtcard.bridge.endpoint import parse_endpoint
from virtcard.bridge.spice.choice import OWN, Choice
from virtcard.bridge.spice.clients import Session, parse_clients
from virtcard.bridge.spice.settings import SpiceSettings
from virtcard.errors import Disconnected, Failed, PeerRefuses

VIEWER = Session(7, frozenset({1, 2, 3}), "10.0.0.7 (port 5000)")
STARTING = Session(7, frozenset({1}), "10.0.0.7 (port 5000)")
WITH_CARD = Session(7, frozenset({1, 2, 8}), "10.0.0.7 (port 5000)")
OURS = Session(9, frozenset({1, 8}), "this host")


class Scene:
    """A monitor that sees `sessions`, and a clock."""

    def __init__(self, *, take_over: bool = False) -> None:
        self.sessions: tuple[Session, ...] = ()
        self.now = 0.0
        settings = SpiceSettings(look=lambda: self.sessions, take_over=take_over)
        self.choice = Choice(parse_endpoint("spice://host:5900"), settings, lambda: self.now)

    def see(self, *sessions: Session) -> int:
        self.sessions = sessions
        return self.choice.choose()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def refusal(step: Callable[[], object], kind: type[Exception] = PeerRefuses) -> str:
    with pytest.raises(kind) as caught:
        step()
    return str(caught.value)


def test_with_nobody_there_the_session_is_our_own(scene: Scene) -> None:
    assert scene.see() == OWN


def test_with_a_viewer_its_session_is_joined(scene: Scene) -> None:
    assert scene.see(VIEWER) == 7


def test_a_viewer_that_just_begins_is_given_time_for_its_channels(scene: Scene) -> None:
    assert "just connected" in refusal(lambda: scene.see(STARTING), Disconnected)
    scene.now = 2.9
    refusal(lambda: scene.see(STARTING), Disconnected)
    scene.now = 3.0
    assert scene.see(STARTING) == 7


def test_a_viewer_that_threw_us_out_is_given_time_too(scene: Scene) -> None:
    scene.choice.linked(9, own=True)
    refusal(lambda: scene.see(VIEWER), Disconnected)
    scene.now = 3.0
    assert scene.see(VIEWER) == 7


def test_a_viewer_with_cards_of_its_own_is_left_alone_and_named(scene: Scene) -> None:
    said = refusal(lambda: scene.see(WITH_CARD))
    assert "10.0.0.7 (port 5000)" in said
    assert "its own smart cards" in said


def test_once_we_were_there_its_end_is_waited_for(scene: Scene) -> None:
    scene.choice.linked(9, own=True)
    refusal(lambda: scene.see(WITH_CARD), Disconnected)


def test_take_over_throws_out_a_viewer_with_cards_once() -> None:
    scene = Scene(take_over=True)
    assert scene.see(WITH_CARD) == OWN
    scene.choice.confirm()
    scene.choice.linked(9, own=True)
    refusal(lambda: scene.see(WITH_CARD), Disconnected)


def test_take_over_throws_out_nobody_beside_whom_there_is_room() -> None:
    assert Scene(take_over=True).see(VIEWER) == 7


def test_what_is_left_of_our_own_last_session_is_no_viewer(scene: Scene) -> None:
    scene.choice.linked(9, own=True)
    assert scene.see(OURS) == OWN
    scene.choice.confirm()


def test_a_viewer_that_comes_at_the_last_moment_is_not_thrown_out(scene: Scene) -> None:
    assert scene.see() == OWN
    scene.sessions = (STARTING,)
    assert "just connected" in refusal(scene.choice.confirm, Disconnected)


def blind(*, take_over: bool) -> Choice:
    return Choice(parse_endpoint("spice://host:5900"), SpiceSettings(take_over=take_over))


def test_who_cannot_look_does_not_connect() -> None:
    assert "would throw it out" in refusal(blind(take_over=False).choose)


def test_who_cannot_look_may_be_told_to_take_over() -> None:
    choice = blind(take_over=True)
    assert choice.choose() == OWN
    choice.confirm()


def test_who_cannot_look_does_not_fight_with_a_viewer_that_came() -> None:
    choice = blind(take_over=True)
    choice.linked(9, own=True)
    assert "a viewer has come" in refusal(choice.choose)


def test_a_server_that_was_away_is_another_one() -> None:
    choice = blind(take_over=True)
    choice.linked(9, own=True)
    choice.unreachable()
    assert choice.choose() == OWN
    choice.linked(10, own=True)
    refusal(choice.choose)


def test_passwords_stay_out_of_the_repr() -> None:
    assert "secret" not in repr(SpiceSettings(b"secret"))


# What the monitor says (QEMU 7.2).

MAIN = {
    "port": "49078",
    "family": "ipv4",
    "channel-type": 1,
    "connection-id": -1559492416,
    "host": "127.0.0.1",
    "channel-id": 0,
    "tls": False,
}
INFO = {"enabled": True, "auth": "spice", "channels": [MAIN, MAIN | {"port": "49090", "channel-type": 8}]}


def test_channels_of_one_connection_are_one_session() -> None:
    (session,) = parse_clients(INFO)
    assert session == Session(0xA30C08C0, frozenset({1, 8}), "127.0.0.1 (port 49078)")
    assert session.has_card
    assert session.is_settled


def test_a_client_on_a_unix_socket_is_on_this_host() -> None:
    (session,) = parse_clients({"enabled": True, "channels": [MAIN | {"family": "unix", "host": "", "port": ""}]})
    assert session.place == "this host"
    assert not session.is_settled


def test_without_channels_nobody_is_there() -> None:
    assert parse_clients({"enabled": True}) == ()


def test_a_machine_without_spice_is_the_wrong_one() -> None:
    with pytest.raises(Failed, match="has no SPICE"):
        parse_clients({"enabled": False})


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"enabled": 1},
        {"enabled": True, "channels": {}},
        {"enabled": True, "channels": [7]},
        {"enabled": True, "channels": [{k: v for k, v in MAIN.items() if k != "connection-id"}]},
        {"enabled": True, "channels": [MAIN | {"channel-type": "1"}]},
        {"enabled": True, "channels": [MAIN] * 257},
    ],
)
def test_any_other_answer_is_an_error(answer: object) -> None:
    with pytest.raises(Failed):
        parse_clients(answer)


@pytest.mark.parametrize("host", ["a\nb", "x" * 300])
def test_a_host_that_cannot_be_shown_is_not(host: str) -> None:
    (session,) = parse_clients({"enabled": True, "channels": [MAIN | {"host": host}]})
    assert session.place == "this host"
