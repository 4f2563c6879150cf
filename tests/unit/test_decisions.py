"""What the policy decides goes on record: once for each change, and never often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from virtcard.limits import RECORD_PAUSE, RECORD_SUBJECTS_MAX
from virtcard.policy.decide import Request
from virtcard.policy.model import Action, Place, Rule, WhenLocked
from virtcard.service.decisions import CARDS_MAX, Decisions
from virtcard.service.permission import Denied, Gate
from virtcard.service.record import Event, Record
from virtcard.service.throttle import Throttle

VM = UUID(int=7)
REQUEST = Request(VM, "win11", user="alice", source="reader:Y*", reader="Yubico 00", atr=b"\x3b\x00")
PLACE = Place("/etc/virtcard/policy.d/50.toml", 3)
ALLOW = Rule(Action.ALLOW, place=PLACE)


class Lab:
    """A gate whose rules, lock and clock the test sets."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.rules = [ALLOW]
        self.locked = False
        self.now = 0.0
        self.decisions = Decisions(self.records.append, Throttle(lambda: self.now))
        shares: Callable[..., bool] = lambda _uuid, *, is_in: False  # noqa: E731
        self.gate = Gate(lambda: self.rules, lambda: self.locked, shares, self.decisions.decided)

    def judge(self, request: Request = REQUEST, *consents: str) -> None:
        try:
            self.gate.judge(request, frozenset(consents))
        except Denied:
            return

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return [(record.sentence, record.rule, record.reason) for record in self.records]


def test_a_decision_names_rule_user_domain_and_card_and_no_more() -> None:
    lab = Lab()
    lab.judge()
    assert lab.records == [
        Record(
            Event.DECIDED,
            f"The policy lets win11 have reader:Yubico 00. {PLACE} says so.",
            VM,
            "win11",
            "reader:Yubico 00",
            str(PLACE),
            "alice",
        )
    ]
    assert "3b" not in str(lab.records[0].fields()).lower()


@pytest.mark.parametrize(
    ("rules", "locked", "sentence"),
    [
        ([], False, "The policy does not let win11 have reader:Yubico 00. No rule fits."),
        ([replace(ALLOW, action=Action.DENY)], False, f"not let win11 have reader:Yubico 00. {PLACE} says so."),
        ([replace(ALLOW, action=Action.ASK)], False, f"when a person at the machine agrees. {PLACE} says so."),
        (
            [replace(ALLOW, when_locked=WhenLocked.EJECT)],
            True,
            f"may not have reader:Yubico 00 while the screen is locked. {PLACE} says so.",
        ),
    ],
)
def test_a_no_is_on_record_with_its_reason(rules: list[Rule], sentence: str, *, locked: bool) -> None:
    lab = Lab()
    lab.rules, lab.locked = rules, locked
    lab.judge()
    [(told, rule, reason)] = lab.told
    assert told.endswith(sentence)
    assert rule == (str(PLACE) if rules else "")
    assert told.startswith(reason)


def test_looking_again_tells_nothing_and_each_change_is_told() -> None:
    lab = Lab()
    for _ in range(10):
        lab.judge()
    lab.rules = [replace(ALLOW, action=Action.ASK)]
    lab.judge()
    lab.now += RECORD_PAUSE
    lab.judge(REQUEST, "reader:Yubico 00 3b00")
    lab.judge(REQUEST, "reader:Yubico 00 3b00")
    assert len(lab.records) == 3
    lab.decisions.forget(VM)
    lab.now += RECORD_PAUSE
    lab.judge(REQUEST, "reader:Yubico 00 3b00")
    assert len(lab.records) == 4


def test_a_refusal_that_is_called_for_again_and_again_is_folded() -> None:
    lab = Lab()
    lab.rules = []
    for _ in range(20):
        lab.judge()
        lab.decisions.forget(VM, "reader:Yubico 00")
    assert len(lab.records) == 1
    lab.now += RECORD_PAUSE
    lab.judge()
    assert lab.records[1].sentence.endswith("(20 times)")


def test_what_is_remembered_is_bounded() -> None:
    lab = Lab()
    for number in range(RECORD_SUBJECTS_MAX + 10):
        lab.judge(replace(REQUEST, uuid=UUID(int=number)))
    for number in range(CARDS_MAX + 10):
        lab.judge(replace(REQUEST, reader=f"Reader {number}"))
    assert len(lab.decisions._told) == RECORD_SUBJECTS_MAX
    assert len(lab.decisions._told[VM]) == CARDS_MAX
