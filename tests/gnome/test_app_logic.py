"""What the application thinks, without GTK."""

from __future__ import annotations

from typing import Any

import pytest

from virtcard_gtk.history import SECONDS, History
from virtcard_gtk.model import BRIDGE, CARD, DOMAIN, READER, Card, Machine, Picture, State, picture
from virtcard_gtk.naming import is_name, name_of, subject_of
from virtcard_gtk.sentences import activity, description, grant, problem, status
from virtcard_gtk.words import TEXT_MAX, line

VM = "/org/virtcard1/domain/1"
RUNNING = {"Name": "win11", "Id": 3, "Enabled": True, "Live": True, "Mode": "bridge", "LastError": "", "Hint": ""}
YUBIKEY = {"Name": "Yubico YubiKey 00 00", "Present": True, "Domains": [VM]}
JANE = {"Name": "jane", "Type": "piv", "PinTries": 3, "Domains": [], "LastError": ""}


def seen(domain: dict[str, Any], bridge: dict[str, Any] | None = None, *cards: dict[str, Any]) -> Picture:
    objects: dict[str, Any] = {VM: {DOMAIN: domain}}
    if bridge is not None:
        objects["/bridge/1_0"] = {BRIDGE: {"Domain": VM, "Slot": 0, **bridge}}
    for number, card in enumerate(cards):
        objects[f"/card/{number}"] = {CARD if "Type" in card else READER: card}
    return picture(objects)


def machine(domain: dict[str, Any], bridge: dict[str, Any] | None = None, *cards: dict[str, Any]) -> Machine:
    return seen(domain, bridge, *cards).machines[0]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("connecting", State.WAITING), ("greeting", State.WAITING), ("empty", State.EMPTY),
        ("inserting", State.INSERTING), ("inserted", State.INSERTED), ("ejecting", State.EJECTING),
        ("failed", State.FAILED), ("closed", State.FAILED), ("a word of a later version", State.WAITING),
    ],
)  # fmt: skip
def test_machine_is_what_its_bridge_is(word: str, state: State) -> None:
    assert machine(RUNNING, {"State": word}).state is state


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"Id": -1}, State.OFF),
        ({"Live": False}, State.PENDING),
        ({"Mode": "spice"}, State.ELSEWHERE),
        ({"Enabled": False, "Live": False}, State.NO_READER),
        ({}, State.WAITING),
    ],
)
def test_machine_without_a_bridge(changes: dict[str, Any], state: State) -> None:
    assert machine(RUNNING | changes).state is state


def test_machine_with_a_hot_plugged_reader_alone_takes_cards() -> None:
    assert machine(RUNNING | {"Enabled": False, "Live": False}, {"State": "empty", "Slot": 1}).takes_cards


def test_every_reader_of_a_machine_is_shown_with_its_own_card() -> None:
    objects: dict[str, Any] = {VM: {DOMAIN: RUNNING}, "/card/0": {CARD: JANE | {"Domains": [VM]}}}
    bridges = ((2, "empty", ""), (0, "inserted", "card:jane"), (1, "inserted", "reader:Yub*"))
    for slot, word, source in bridges:
        objects[f"/bridge/{slot}"] = {BRIDGE: {"Domain": VM, "Slot": slot, "State": word, "Source": source}}
    machines = picture(objects).machines
    assert [(each.name, each.slot, each.card) for each in machines] == [
        ("win11, reader 1", 0, "jane"),
        ("win11, reader 2", 1, "reader:Yub*"),
        ("win11, reader 3", 2, ""),
    ]
    assert len({each.key for each in machines}) == 3


def test_running_machines_come_first_and_those_without_a_reader_last() -> None:
    objects = {
        "/1": {DOMAIN: {**RUNNING, "Name": "alpha", "Id": -1, "Enabled": False, "Live": False}},
        "/2": {DOMAIN: {**RUNNING, "Name": "Beta", "Id": -1}},
        "/3": {DOMAIN: {**RUNNING, "Name": "zulu"}},
        "/4": {DOMAIN: {**RUNNING, "Name": "yankee", "Enabled": False, "Live": False}},
    }
    assert [each.name for each in picture(objects).machines] == ["zulu", "yankee", "Beta", "alpha"]


def test_card_in_a_machine_is_called_as_its_reader() -> None:
    there = machine(RUNNING, {"State": "inserted", "Source": "reader:Yubico*"}, YUBIKEY)
    assert status(there) == "Has Yubico YubiKey"
    assert status(machine(RUNNING, {"State": "inserted", "Source": "vpicc:1"})) == "Has vpicc:1"


def test_machine_is_active_only_while_a_card_is_in() -> None:
    assert status(machine(RUNNING, {"State": "inserted", "Active": True, "Source": "x:1"})).endswith("uses it now")
    assert not machine(RUNNING, {"State": "empty", "Active": True}).active


def test_the_bridges_trouble_comes_before_the_machines_own() -> None:
    both = machine(RUNNING | {"LastError": "a", "Hint": "b"}, {"State": "empty", "LastError": "c", "Hint": "d"})
    assert (both.error, both.hint) == ("c", "d")
    own = machine(RUNNING | {"LastError": "a", "Hint": "b"}, {"State": "empty", "LastError": "", "Hint": ""})
    assert (own.error, own.hint) == ("a", "b")


def test_reader_is_inserted_by_its_full_name_and_numbered_only_beside_its_like() -> None:
    (card,) = seen(RUNNING, None, YUBIKEY).cards
    assert (card.source, card.name) == ("reader:Yubico YubiKey 00 00", "Yubico YubiKey")
    two = seen(RUNNING, None, YUBIKEY, YUBIKEY | {"Name": "Yubico YubiKey 01 00"}).cards
    assert [card.name for card in two] == ["Yubico YubiKey 00 00", "Yubico YubiKey 01 00"]


def test_readers_come_before_software_cards() -> None:
    assert [card.software for card in seen(RUNNING, None, JANE, YUBIKEY).cards] == [False, True]


@pytest.mark.parametrize(
    ("card", "text"),
    [
        (YUBIKEY, "Card in reader · in win11"),
        (YUBIKEY | {"Present": False}, "Empty reader · in win11"),
        (JANE, "Software card, PIV · 3 PIN tries left · in win11"),
        (JANE | {"PinTries": 1}, "Software card, PIV · 1 PIN try left · in win11"),
        (JANE | {"PinTries": 0}, "Software card, PIV · PIN blocked · in win11"),
        (JANE | {"Type": "", "LastError": "Its file is damaged."}, "Its file is damaged. · in win11"),
        (JANE | {"Type": ""}, "Cannot be read · in win11"),
    ],
)
def test_card_is_described(card: dict[str, Any], text: str) -> None:
    assert description(seen(RUNNING, None, card).cards[0], ["win11"]) == text


def test_every_state_has_words() -> None:
    assert len({status(Machine(VM, "vm", state, True, "jane")) for state in State}) == len(State)


def test_names_cannot_pretend_to_be_anything_else() -> None:
    assert line("a\nb\u202ec\0") == "a\ufffdb\ufffdc\ufffd"
    assert len(line("x" * 1000)) == TEXT_MAX
    assert machine(RUNNING | {"Name": "{card}\n"}).name == "{card}\ufffd"
    assert "{machine}" in status(machine(RUNNING, {"State": "inserted", "Source": "{machine}"}))


def test_objects_of_another_version_are_taken_as_they_are() -> None:
    assert picture({"/x": {"org.virtcard1.Later": {}}}) == Picture()
    assert picture({VM: {DOMAIN: {}}, "/b": {BRIDGE: {}}, "/c": {CARD: {}}, "/r": {READER: {}}}).machines[0].name == ""


def test_grant_says_who_allowed_what_when() -> None:
    title, text = grant(
        {"user": "jane", "when": 0, "domain": "win11", "source": "reader:Key: 1", "operations": ["insert", "later"]}
    )
    assert title == "win11 and Key: 1"
    assert text.startswith("insert, later · jane allowed it always on ")


def test_grant_of_a_later_version_is_still_a_row() -> None:
    assert grant({})[0] == " and "


def test_error_is_a_sentence_and_a_hint() -> None:
    told = problem("org.virtcard1.Error.PolicyDenied", "The policy says no.\nAsk your administrator.")
    assert (told.sentence, told.hint) == ("The policy says no.", "Ask your administrator.")
    assert problem("org.virtcard1.Error.Busy", "Wait.").hint == ""
    assert problem("org.freedesktop.DBus.Error.NoReply", "Traceback").sentence == "virtcardd did not answer."


def test_history_shows_commands_of_each_second() -> None:
    history = History()
    for total in (100, 103, 103, 110):
        history.add(total)
    assert list(history.rates)[-4:] == [0, 3, 0, 7]
    assert (history.now, history.most, len(history.rates)) == (7, 7, SECONDS)


def test_counter_that_begins_anew_is_no_fall() -> None:
    history = History()
    for total in (100, 2, 5):
        history.add(total)
    assert list(history.rates)[-3:] == [0, 0, 3]


def test_history_forgets_what_is_older_than_the_plot() -> None:
    history = History()
    history.add(0)
    history.add(50)
    for _ in range(SECONDS):
        history.add(50)
    assert history.most == 0


def test_curve_fits_its_box() -> None:
    history = History()
    for total in (0, 40, 60):
        history.add(total)
    points = history.points(100, 50)
    assert [point[0] for point in (points[0], points[-1])] == [0, 100]
    assert points[-2][1] == 0
    assert points[-1][1] == 25
    assert points[0][1] == 50


def test_plot_is_told_to_who_does_not_see_it() -> None:
    history = History()
    for total in (0, 9, 12):
        history.add(total)
    words = activity(Machine(VM, "win11", State.INSERTED, True), history)
    assert words == "win11: 3 commands in the last second, at most 9 in the last two minutes"


@pytest.mark.parametrize(
    ("person", "name"), [("Jane Doe", "jane-doe"), ("Ødegård, Å.", "degrd"), ("  ", ""), ("x" * 80, "x" * 64)]
)
def test_card_is_named_after_its_person(person: str, name: str) -> None:
    assert name_of(person).replace("-", "") == name.replace("-", "")
    assert is_name(name_of(person)) == bool(name)


@pytest.mark.parametrize(
    ("name", "good"), [("jane", True), ("-x", False), ("a b", False), ("", False), ("x" * 65, False)]
)
def test_only_names_that_virtcardd_takes_are_taken(name: str, good: bool) -> None:
    assert is_name(name) is good


@pytest.mark.parametrize(
    ("person", "subject"),
    [("Jane Doe", "CN=Jane Doe"), ("Doe, Jane", r"CN=Doe\, Jane"), ("#1", r"CN=\#1"), ('a"b\\', r"CN=a\"b\\")],
)
def test_person_is_escaped_in_the_subject(person: str, subject: str) -> None:
    assert subject_of(person) == subject


def test_software_card_is_a_source() -> None:
    assert seen(RUNNING, None, JANE).cards == (Card("/card/0", "card:jane", "jane", True, True, (), "piv", 3, ""),)
