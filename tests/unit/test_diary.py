"""What goes on record of a bridge and its cards, from what its views show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from helpers.fake_service import WIN11, bridge_view, domain_view
from virtcard.card.audit import Counts
from virtcard.service.diary import Diary
from virtcard.service.record import Event, Record
from virtcard.service.registry import Registry
from virtcard.service.throttle import Throttle
from virtcard.service.views import BridgeState, BridgeView

KEY = (WIN11, 0)
CARD = "reader:Yubico*"


class Lab:
    """A registry whose bridge a test changes, and what goes on record of that."""

    def __init__(self) -> None:
        self.now = 0.0
        self.registry = Registry()
        self.registry.domains.put(WIN11, domain_view())
        self.records: list[Record] = []
        Diary(self.registry, self.records.append, Throttle(lambda: self.now))
        self.view: BridgeView = replace(bridge_view(), source="", state=BridgeState.CONNECTING)
        self.show()

    def show(self, **changes: Any) -> None:
        self.view = replace(self.view, **changes)
        self.registry.bridges.put(KEY, self.view)

    def insert(self, source: str = CARD) -> None:
        self.show(source=source, state=BridgeState.INSERTING)
        self.show(state=BridgeState.INSERTED)

    def events(self) -> list[str]:
        return [record.event.value for record in self.records]

    def last(self, event: Event) -> Record:
        return next(record for record in reversed(self.records) if record.event is event)


def inserted_lab() -> Lab:
    lab = Lab()
    lab.show(state=BridgeState.EMPTY)
    lab.insert()
    return lab


def test_a_bridge_is_on_record_when_its_machine_answers_and_a_card_when_the_guest_has_it() -> None:
    lab = Lab()
    assert lab.events() == []
    lab.show(state=BridgeState.GREETING)
    lab.show(state=BridgeState.EMPTY)
    assert lab.records == [Record(Event.BRIDGE_STARTED, "The bridge of win11 has started.", WIN11, "win11")]
    lab.show(source=CARD, state=BridgeState.INSERTING)
    assert len(lab.records) == 1
    lab.show(state=BridgeState.INSERTED)
    assert lab.records[1:] == [Record(Event.INSERTED, f"{CARD} is in win11.", WIN11, "win11", CARD)]


def test_a_card_that_leaves_is_on_record_once_with_what_it_was_asked() -> None:
    lab = inserted_lab()
    counts = Counts({"SELECT": 1, "VERIFY": 2}, bytes_sent=40, bytes_received=6)
    lab.show(source="", state=BridgeState.EJECTING, counts=counts)
    assert lab.events() == ["bridge-started", "inserted"]
    lab.show(state=BridgeState.EMPTY)
    sentence = f"{CARD} is out of win11, after 3 commands."
    assert lab.records[2:] == [Record(Event.EJECTED, sentence, WIN11, "win11", CARD, counts=counts)]


def test_the_second_card_is_not_charged_with_what_the_first_was_asked() -> None:
    lab = inserted_lab()
    lab.show(counts=Counts({"SELECT": 5}, bytes_sent=70))
    lab.show(source="", state=BridgeState.EMPTY)
    lab.insert("card:jane")
    lab.show(counts=Counts({"SELECT": 6}, bytes_sent=84))
    lab.show(source="", state=BridgeState.EMPTY)
    record = lab.last(Event.EJECTED)
    assert (record.source, record.counts) == ("card:jane", Counts({"SELECT": 1}, bytes_sent=14))


def test_a_machine_that_goes_away_takes_its_card_out() -> None:
    lab = inserted_lab()
    lab.show(state=BridgeState.CONNECTING)
    assert lab.events()[-1] == "ejected"
    lab.show(state=BridgeState.INSERTED)
    assert lab.events()[-1] == "inserted"


def test_the_end_of_a_bridge_ends_its_card_too_and_tells_everything_it_carried() -> None:
    lab = inserted_lab()
    lab.show(counts=Counts({"SELECT": 5}, bytes_sent=70))
    lab.registry.bridges.drop(KEY)
    assert lab.events() == ["bridge-started", "inserted", "ejected", "bridge-ended"]
    assert lab.records[-1].sentence == "The bridge of win11 has ended, after 5 commands."
    assert lab.records[-1].counts == Counts({"SELECT": 5}, bytes_sent=70)


def test_a_bridge_whose_machine_never_answered_leaves_nothing_behind() -> None:
    lab = Lab()
    lab.registry.bridges.drop(KEY)
    assert lab.records == []


def test_wrong_pins_are_on_record_folded() -> None:
    lab = inserted_lab()
    for count in range(1, 6):
        lab.show(counts=Counts({"VERIFY": count}, pin_failures=count, bytes_sent=count))
    assert lab.last(Event.PIN_FAILED).sentence == f"win11 sent a wrong PIN to {CARD}."
    assert lab.events().count("pin-failed") == 1
    lab.now += 10
    lab.show(counts=Counts({"VERIFY": 5, "SELECT": 1}, pin_failures=5, bytes_sent=9))
    assert lab.last(Event.PIN_FAILED).sentence == f"win11 sent 4 wrong PINs to {CARD}."
    assert lab.last(Event.PIN_FAILED).counts == Counts(pin_failures=4)


def test_refused_commands_that_were_held_back_are_told_when_the_card_leaves() -> None:
    lab = inserted_lab()
    lab.show(counts=Counts(refused=1))
    lab.show(counts=Counts(refused=8))
    lab.show(source="", state=BridgeState.EMPTY)
    assert lab.events()[2:] == ["refused", "refused", "ejected"]
    assert [record.counts for record in lab.records[2:4]] == [Counts(refused=1), Counts(refused=7)]


def test_a_domain_that_nobody_knows_by_name_is_named_by_its_uuid() -> None:
    lab = Lab()
    lab.registry.domains.drop(WIN11)
    lab.show(state=BridgeState.EMPTY)
    assert lab.records[0].sentence == f"The bridge of {WIN11} has started."


def test_a_wrong_pin_that_is_heard_of_as_the_card_leaves_is_that_cards() -> None:
    lab = inserted_lab()
    lab.show(source="", state=BridgeState.EMPTY, counts=Counts({"VERIFY": 1}, pin_failures=1, bytes_sent=11))
    assert lab.events()[2:] == ["pin-failed", "ejected"]
    assert lab.last(Event.PIN_FAILED).source == CARD
    assert lab.last(Event.PIN_FAILED).sentence == f"win11 sent a wrong PIN to {CARD}."


def test_a_pin_that_the_guard_stops_is_on_record_as_that_alone() -> None:
    lab = inserted_lab()
    lab.show(counts=Counts(refused=3, pin_stops=2))
    assert [record.sentence for record in lab.records[2:]] == [
        f"The PIN guard kept 2 PINs of win11 from {CARD}.",
        f"The guard kept a command of win11 from {CARD}.",
    ]
