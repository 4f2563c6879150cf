"""Viewers and their smart cards, as QEMU's SPICE events tell of them."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtcard.domain.viewers import Crowd, Step, ViewerEvent, read_channels, read_event
from virtcard.errors import PolicyDenied
from virtcard.policy.decide import Request, yields_to_viewers
from virtcard.policy.model import Action, Rule, WhenViewer
from virtcard.service.permission import Gate, Yields
from virtcard.service.viewers import Viewers

VM = UUID(int=7)
REQUEST = Request(VM, "win11", source="card:jane")
CLIENT = {"host": "127.0.0.1", "family": "ipv4", "port": "49090"}
CARD = CLIENT | {"channel-type": 8, "channel-id": 0, "connection-id": -1559492416, "tls": False}
YIELD = Rule(Action.ALLOW, when_viewer=WhenViewer.VIEWER)


def event(name: str, client: object) -> ViewerEvent | None:
    """As libvirt passes it on."""
    return read_event(name, json.dumps({"server": {"auth": "spice"}, "client": client}))


def came(place: str, channel: int = 8) -> list[ViewerEvent]:
    return [ViewerEvent(Step.CONNECTED, place), ViewerEvent(Step.INITIALIZED, place, channel)]


def went(place: str) -> list[ViewerEvent]:
    return [ViewerEvent(Step.DISCONNECTED, place)]


def crowd(*events: list[ViewerEvent]) -> Crowd:
    made = Crowd()
    for each in events:
        for one in each:
            made.take(one)
    return made


def test_events_tell_the_place_and_the_kind_of_the_channel() -> None:
    assert event("SPICE_CONNECTED", CLIENT) == ViewerEvent(Step.CONNECTED, "ipv4 127.0.0.1 49090")
    assert event("SPICE_INITIALIZED", CARD) == ViewerEvent(Step.INITIALIZED, "ipv4 127.0.0.1 49090", 8)


@pytest.mark.parametrize("details", [None, "", "[]", "{}", '{"client": 7}', "[" * 100_000])
def test_what_is_no_event_is_none(details: str | None) -> None:
    assert read_event("SPICE_CONNECTED", details) is None


def test_other_events_of_spice_are_none() -> None:
    assert event("SPICE_MIGRATE_COMPLETED", CLIENT) is None


def test_a_card_is_shared_from_the_channel_s_beginning_to_its_end() -> None:
    assert not crowd(came("a", 1)).shares_card
    assert crowd(came("a", 1), came("b")).shares_card
    assert not crowd(came("a", 1), came("b"), went("b")).shares_card
    assert crowd(came("a", 1), came("b"), went("a")).shares_card


def test_clients_without_names_share_until_the_last_one_goes() -> None:
    several = crowd(came("unix  ", 1), came("unix  "), came("unix  ", 2), went("unix  "), went("unix  "))
    assert several.shares_card
    several.take(went("unix  ")[0])
    assert not several.shares_card


def test_whoever_fails_to_authenticate_shares_nothing() -> None:
    assert not crowd([ViewerEvent(Step.CONNECTED, "a")], went("a"), went("a")).shares_card


def test_whoever_was_there_before_us_leaves_without_trouble() -> None:
    assert not crowd(went("a")).shares_card


def test_the_monitor_s_answer_is_as_if_everybody_had_just_come() -> None:
    main = CLIENT | {"channel-type": 1, "port": "49078"}
    events = read_channels({"enabled": True, "channels": [main, CARD]})
    assert events is not None
    assert crowd(list(events)).shares_card
    assert read_channels({"enabled": False}) == ()


@pytest.mark.parametrize("value", [None, [], {"channels": 7}, {"channels": [7]}, {"channels": [CLIENT] * 300}])
def test_what_is_no_answer_is_none(value: object) -> None:
    assert read_channels(value) is None


@given(st.lists(st.tuples(st.sampled_from(Step), st.sampled_from("abc"), st.sampled_from([0, 1, 8]))))
def test_whatever_comes_the_end_of_all_connections_is_the_end_of_all_cards(events: list[tuple[Step, str, int]]) -> None:
    made = crowd([ViewerEvent(*each) for each in events])
    for place in "abc" * (len(events) + 1):
        made.take(went(place)[0])
    assert not made.shares_card


def test_a_stranger_cannot_fill_the_memory() -> None:
    made = crowd(*(came(str(number)) for number in range(2000)))
    assert len(made._connections) <= 256


# The service.


def test_only_a_change_is_told() -> None:
    told: list[bool] = []
    viewers = Viewers(lambda uuid: told.append(viewers.shares_card(uuid)))
    for events in (came("a", 1), came("b"), came("c", 2), went("b"), went("a")):
        viewers.take(VM, events)
    assert told == [True, False]


def test_the_end_of_a_machine_is_the_end_of_its_viewers() -> None:
    told: list[bool] = []
    viewers = Viewers(lambda _uuid: told.append(True))
    viewers.take(VM, came("a"))
    viewers.forget(VM)
    assert not viewers.shares_card(VM)
    assert told == [True, True]


def test_until_it_is_known_who_was_there_a_card_that_is_in_stays_and_another_waits() -> None:
    told: list[UUID] = []
    viewers = Viewers(told.append)
    viewers.expect(VM)
    assert (viewers.shares_card(VM), viewers.shares_card(VM, is_in=True)) == (True, False)
    viewers.met(VM, came("a", 1))
    assert (viewers.shares_card(VM), told) == (False, [VM])
    viewers.expect(VM)
    viewers.met(VM, came("a"))
    assert viewers.shares_card(VM, is_in=True)
    viewers.expect(VM)
    viewers.met(VM, None)
    assert viewers.findings(VM)[0].code == "viewers-unseen"


def test_what_cannot_be_seen_is_a_warning() -> None:
    viewers = Viewers(lambda _uuid: None)
    assert viewers.findings(VM) == ()
    viewers.met(VM, None)
    assert "before it started" in viewers.findings(VM)[0].message
    viewers.told = False
    assert "libvirt does not tell" in viewers.findings(VM)[0].message
    viewers.told = True
    viewers.begin()
    assert viewers.findings(VM) == ()


@pytest.mark.parametrize("is_in", [False, True])
def test_where_the_rule_says_so_a_viewer_s_card_goes_before_the_host_s(is_in: bool) -> None:
    gate = Gate(lambda: [YIELD], lambda: False, lambda uuid, *, is_in: uuid == VM)
    with pytest.raises(Yields, match=r"goes before card:jane\.") as caught:
        gate.judge(REQUEST, frozenset(), is_in=is_in)
    assert isinstance(caught.value, PolicyDenied)
    other = Request(UUID(int=8), "other", source="card:jane")
    assert gate.judge(other, frozenset(), is_in=is_in).rule == YIELD


def test_by_default_the_host_s_card_stays() -> None:
    gate = Gate(lambda: [Rule(Action.ALLOW)], lambda: False, lambda _uuid, *, is_in: True)
    assert gate.judge(REQUEST, frozenset()).action is Action.ALLOW


def test_a_rule_for_another_machine_yields_nothing_here() -> None:
    assert yields_to_viewers([YIELD], REQUEST)
    assert not yields_to_viewers([Rule(Action.ALLOW, vm="other", when_viewer=WhenViewer.VIEWER)], REQUEST)
    assert not yields_to_viewers([Rule(Action.ALLOW)], REQUEST)
