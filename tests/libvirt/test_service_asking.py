"""The person at the machine in the service: asked before a card goes in, and in the middle of a command; the lock."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.fake_card import FakeCard
from helpers.qemu_peer import ATR, NotTransacted, QemuPeer
from helpers.services import ServiceLab, has_card, refused, running_lab, service_lab, wish_metadata
from helpers.soft_cards import PIN_DIGITS, empty_card
from virtcard.card.base import CardEvent
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store
from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle, Stopped
from virtcard.domain.run import Run
from virtcard.errors import PolicyDenied
from virtcard.journal import Journal
from virtcard.limits import QUESTIONS_MAX
from virtcard.policy.decide import Decision, Request
from virtcard.policy.model import AskFor
from virtcard.service.answers import boot_time
from virtcard.service.api import Caller
from virtcard.service.insertions import Insertions
from virtcard.service.permission import Gate
from virtcard.service.question import Notice, NoticeKind, Question
from virtcard.service.record import Event, Record
from virtcard.service.seat import Person, Presence

ALICE = Caller("alice")
WISH = wish_metadata("reader:one")
HERE = Person(os.getuid(), "")
SEATED = Presence(HERE)
VERIFY = b"\x00\x20\x00\x80\x06123456"
SIGN = bytes.fromhex("002A9E9A04") + b"hash"
SELECT_PIV = bytes.fromhex("00A4040005A000000308")
PIV_PIN = bytes.fromhex("0020008008") + PIN_DIGITS + b"\xff\xff"
PIV_TRIES = bytes.fromhex("00200080")
OK = b"\x90\x00"
REFUSED = b"\x69\x82"


class InBank(FakeCard):
    """A card in a host reader."""

    reader = "Bank 00 00"


class Agent:
    """Answers each question with the next of `answers`, or thinks until the test says; it notes what it was asked and
    told."""

    uid = HERE.uid

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []
        self.told: list[Notice] = []
        self.thinks: asyncio.Queue[str] = asyncio.Queue()

    async def ask(self, number: str, question: Question) -> object:
        self.asked.append(question)
        if not self.answers:
            return await self.thinks.get()
        return self.answers.pop(0)

    def cancel(self, number: str) -> None:
        self.answers.append("cancelled")

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)

    @property
    def operations(self) -> list[str]:
        return [question.operation for question in self.asked]


@asynccontextmanager
async def at_the_machine(
    rule: str, agent: Agent | None, metadata: str = "", presence: Presence = SEATED
) -> AsyncIterator[tuple[ServiceLab, QemuPeer]]:
    """Somebody sits there, perhaps with an agent."""
    async with running_lab(metadata, policy=f"[[rule]]\n{rule}") as (lab, peer):
        lab.daemon.seat.take(presence)
        if agent is not None:
            lab.service.agents.add(agent)
        lab.source.card("one").answers.update({VERIFY: OK, SIGN: OK})
        yield lab, peer


def lock(lab: ServiceLab, *, locked: bool = True) -> None:
    lab.daemon.seat.take(Presence(HERE, locked))


async def asked_in(peer: QemuPeer, command: bytes) -> bytes:
    """What the guest gets; the event loop goes on meanwhile, and the person answers."""
    return await asyncio.to_thread(peer.exchange, command)


def test_a_person_is_asked_before_the_card_goes_in() -> None:
    async def scene() -> None:
        agent = Agent("once")
        async with at_the_machine('action = "ask"', agent) as (lab, peer):
            await lab.insert("run", "reader:one", caller=ALICE)
            await lab.inserted("run", peer)
            (question,) = agent.asked
            assert (question.domain, question.source, question.operation) == ("run", "reader:one", AskFor.INSERT)

    run_async(scene())


@pytest.mark.parametrize("answer", ["deny", "always", "rubbish", ""])
def test_a_no_and_whatever_was_not_offered_keeps_the_card_out(answer: str) -> None:
    async def scene() -> None:
        async with at_the_machine('action = "ask"', Agent(answer)) as (lab, peer):
            error = await refused(lab.insert("run", "reader:one", caller=ALICE), PolicyDenied)
            assert error.message == "Whoever was asked said no."
            assert not has_card(peer)

    run_async(scene())


def test_the_owners_own_call_is_asked_about_too_where_an_agent_runs() -> None:
    async def scene() -> None:
        agent = Agent("deny")
        async with at_the_machine('action = "ask"', agent) as (lab, _peer):
            await refused(lab.insert("run", "reader:one"), PolicyDenied)
            assert agent.operations == ["insert"]

    run_async(scene())


def test_without_an_agent_the_owners_own_call_is_enough() -> None:
    async def scene() -> None:
        async with at_the_machine('action = "ask"', None) as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)

    run_async(scene())


@asynccontextmanager
async def with_card(remember: str, agent: Agent) -> AsyncIterator[tuple[ServiceLab, QemuPeer]]:
    """The card is in, and each PIN and each signature may be asked for."""
    rule = f'action = "ask"\nask-for = ["pin", "sign"]\npin-reserve = 0\nremember = "{remember}"'
    async with at_the_machine(rule, agent) as (lab, peer):
        await lab.insert("run", "reader:one")
        await lab.inserted("run", peer)
        yield lab, peer


def test_without_remembering_every_pin_and_every_signature_is_asked_for() -> None:
    async def scene() -> None:
        agent = Agent(*["once"] * 4)
        async with with_card("no", agent) as (_lab, peer):
            for command in (VERIFY, VERIFY, SIGN, SIGN):
                assert await asked_in(peer, command) == OK
            assert agent.operations == ["pin", "pin", "sign", "sign"]

    run_async(scene())


@pytest.mark.parametrize("remember", ["10m", "session", "always"])
def test_a_yes_that_was_given_once_is_for_one_signature_whatever_the_rule_would_remember(remember: str) -> None:
    async def scene() -> None:
        agent = Agent("once", "deny")
        async with with_card(remember, agent) as (lab, peer):
            assert await asked_in(peer, SIGN) == OK
            assert await asked_in(peer, SIGN) == REFUSED
            assert agent.operations == ["sign", "sign"]
            assert lab.source.card("one").commands.count(SIGN) == 1

    run_async(scene())


def test_a_yes_for_ten_minutes_is_over_after_ten_minutes_while_the_card_stays_in() -> None:
    async def scene() -> None:
        agent = Agent("time", "deny")
        async with with_card("10m", agent) as (lab, peer):
            assert await asked_in(peer, SIGN) == OK
            in_minutes(lab, 9)
            assert await asked_in(peer, SIGN) == OK
            assert agent.operations == ["sign"]
            in_minutes(lab, 11)
            assert await asked_in(peer, SIGN) == REFUSED
            assert agent.operations == ["sign", "sign"]
            assert has_card(peer)

    run_async(scene())


def test_a_yes_for_a_session_is_over_when_the_person_logs_out_while_the_card_stays_in() -> None:
    async def scene() -> None:
        agent = Agent("session", "deny")
        async with with_card("session", agent) as (lab, peer):
            assert await asked_in(peer, SIGN) == OK
            assert await asked_in(peer, SIGN) == OK
            lab.daemon.seat.take(Presence(Person(HERE.uid, "the next one")))
            assert await asked_in(peer, SIGN) == REFUSED
            assert agent.operations == ["sign", "sign"]
            assert has_card(peer)

    run_async(scene())


def test_an_always_is_kept_the_card_stays_in_and_what_is_taken_back_is_asked_for_again() -> None:
    async def scene() -> None:
        agent = Agent("always", "deny")
        async with with_card("always", agent) as (lab, peer):
            assert await asked_in(peer, SIGN) == OK
            (grant,) = lab.service.grants.all()
            await lab.service.reload_policy()
            assert await asked_in(peer, SIGN) == OK
            assert agent.operations == ["sign"]
            lab.service.grants.revoke(grant.id)
            await lab.service.reload_policy()
            assert await asked_in(peer, SIGN) == REFUSED
            await lab.settled()
            assert peer.types().count(ATR) == 1, "the card never left"

    run_async(scene())


def test_what_an_administrator_does_not_ask_for_any_more_is_not_asked_for_and_the_card_stays_in() -> None:
    async def scene() -> None:
        agent = Agent("once")
        async with with_card("no", agent) as (lab, peer):
            assert await asked_in(peer, SIGN) == OK
            await lab.policy('action = "ask"\nask-for = ["pin"]\npin-reserve = 0')
            assert await asked_in(peer, SIGN) == OK
            assert agent.operations == ["sign"]
            await lab.settled()
            assert peer.types().count(ATR) == 1, "the card never left"

    run_async(scene())


def in_minutes(lab: ServiceLab, minutes: int) -> None:
    """It is so many minutes later for what persons have answered."""
    lab.daemon.asker._answers._clock = lambda: boot_time() + 60 * minutes


def test_a_no_in_the_middle_of_a_command_never_reaches_the_card() -> None:
    async def scene() -> None:
        agent = Agent("deny")
        rule = 'action = "ask"\nask-for = ["sign"]'
        async with at_the_machine(rule, agent) as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            assert await asked_in(peer, SIGN) == REFUSED
            assert await asked_in(peer, SIGN) == REFUSED  # a moment later it is not asked again
            assert SIGN not in lab.source.card("one").commands
            assert agent.operations == ["sign"]

    run_async(scene())


def test_nobody_there_is_a_no_in_the_middle_of_a_command() -> None:
    async def scene() -> None:
        async with at_the_machine('action = "ask"\nask-for = ["pin"]', None) as (lab, peer):
            lab.daemon.seat.take(Presence(None))
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            assert await asked_in(peer, VERIFY) == REFUSED

    run_async(scene())


def test_a_yes_to_one_card_says_nothing_about_the_next_one_in_its_reader() -> None:
    async def scene() -> None:
        agent = Agent("time", "deny")
        async with at_the_machine('action = "ask"\nask-for = ["sign"]\nremember = "10m"', agent) as (lab, peer):
            card = lab.source.cards["Bank 00 00"] = InBank({SIGN: OK})
            card.atr = b"\x3b\x03one"
            await lab.insert("run", "reader:Bank 00 00")
            await lab.inserted("run", peer)
            assert await asked_in(peer, SIGN) == OK
            card.report(CardEvent.REMOVED)
            await lab.empty("run", peer)
            card.atr = b"\x3b\x03two"
            card.report(CardEvent.INSERTED)
            await lab.inserted("run", peer)
            assert await asked_in(peer, SIGN) == REFUSED
            assert [question.atr for question in agent.asked] == [b"\x3b\x03one", b"\x3b\x03two"]

    run_async(scene())


def test_a_software_card_that_goes_in_anew_while_a_person_thinks_takes_the_question_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "cards")
    empty_card(store, "jane")

    async def scene() -> None:
        agent = Agent()
        rule = 'action = "ask"\nask-for = ["pin"]'
        async with at_the_machine(rule, agent) as (lab, peer):
            lab.source.cards["jane"] = SoftSource(store).open("jane")
            await lab.insert("run", "reader:jane")
            await lab.inserted("run", peer)
            await asked_in(peer, SELECT_PIV)
            peer.send_apdu(PIV_PIN)
            await lab.until(lambda: agent.asked, "the person is asked")
            await lab.policy(f'{rule}\nsharing = "exclusive"')
            await lab.until(lambda: agent.answers == ["cancelled"], "the question is taken back")
            with pytest.raises(NotTransacted):
                peer.answer()
            await lab.inserted("run", peer)
            await asked_in(peer, SELECT_PIV)
            assert await asked_in(peer, PIV_TRIES) == b"\x63\xc3"
            await lab.settled()
            assert has_card(peer)

    run_async(scene())


def test_a_lock_while_a_person_thinks_is_a_no() -> None:
    async def scene() -> None:
        agent = Agent()
        async with at_the_machine('action = "ask"\nask-for = ["sign"]', agent) as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            waiting = asyncio.ensure_future(asked_in(peer, SIGN))
            await lab.until(lambda: agent.asked, "the person is asked")
            lock(lab)
            assert await waiting == REFUSED

    run_async(scene())


@pytest.mark.parametrize("rule", ['when-locked = "eject"', 'when-locked = "deny-new"'])
def test_a_locked_screen_keeps_cards_out(rule: str) -> None:
    async def scene() -> None:
        async with at_the_machine(f'action = "allow"\n{rule}', None) as (lab, peer):
            lock(lab)
            error = await refused(lab.insert("run", "reader:one"), PolicyDenied)
            assert error.message == "run may not have reader:one while the screen is locked."
            lock(lab, locked=False)
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)

    run_async(scene())


def test_a_lock_ejects_where_the_rule_says_so_tells_the_person_and_brings_the_card_back() -> None:
    async def scene() -> None:
        agent = Agent()
        async with at_the_machine('action = "allow"\nwhen-locked = "eject"', agent) as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            lock(lab)
            await lab.empty("run", peer)
            assert [(notice.kind, notice.source) for notice in agent.told] == [(NoticeKind.LOCKED_EJECT, "reader:one")]
            await lab.until(lambda: "while the screen is locked" in lab.view("run").last_error, "it is told why")
            lock(lab, locked=False)
            await lab.inserted("run", peer)

    run_async(scene())


def test_a_lock_takes_a_card_out_whatever_fails_at_another_machine(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with at_the_machine('action = "allow"\nwhen-locked = "eject"', None) as (lab, peer):
            await lab.define(domain_xml("other", devices=XHCI + lab.reader("other")))
            other = lab.peer("other")
            await lab.act("other", "create")
            await lab.until(lambda: lab.bridge("other"), "it has a bridge")
            for name, its, card in (("run", peer, "one"), ("other", other, "two")):
                await lab.insert(name, f"reader:{card}")
                await lab.inserted(name, its)
            judge = Gate.judge

            def broken(gate: Gate, request: Request, *arguments: Any, **options: Any) -> Decision:
                if request.name == "run":
                    raise ValueError("a bug")
                return judge(gate, request, *arguments, **options)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Gate, "judge", broken)
                lock(lab)
                await lab.empty("other", other)
                await lab.empty("run", peer)

    run_async(scene())
    assert "a bug" in caplog.text


@pytest.mark.parametrize("word", ["keep", "deny-new"])
def test_a_card_that_is_in_stays_in_where_the_rule_says_so(word: str) -> None:
    async def scene() -> None:
        async with at_the_machine(f'action = "allow"\nwhen-locked = "{word}"', None) as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            lock(lab)
            await lab.settled()
            assert has_card(peer)
            assert lab.view("run").card == "reader:one"

    run_async(scene())


def test_the_person_hears_when_the_pin_guard_stops_a_machine() -> None:
    async def scene() -> None:
        agent = Agent()
        async with at_the_machine('action = "allow"\npin-reserve = 3', agent) as (lab, peer):
            lab.source.card("one").answers[VERIFY[:4]] = b"\x63\xc3"
            await lab.insert("run", "reader:one")
            await lab.inserted("run", peer)
            assert await asked_in(peer, VERIFY) == b"\x69\x83"
            await lab.until(lambda: agent.told, "the person is told")
            (notice,) = agent.told
            assert (notice.kind, notice.domain) == (NoticeKind.PIN_GUARD, "run")

    run_async(scene())


async def until_told(lab: ServiceLab, sentence: str, name: str = "run") -> None:
    await lab.until(
        lambda: (view := lab.service.registry.domains.get(domain_uuid(name))) and sentence in view.last_error,
        f"it is told: {sentence}",
    )


def test_a_wish_at_the_start_of_the_host_is_asked_for_when_somebody_has_logged_in() -> None:
    """The machine starts by itself, long before there is anybody, or an agent."""

    async def scene() -> None:
        agent = Agent("once")
        async with at_the_machine('action = "ask"', None, WISH, Presence(None)) as (lab, peer):
            await until_told(lab, "Nobody is logged in at the machine who could be asked.")
            for _ in range(3):
                await lab.settled()
            lab.daemon.seat.take(Presence(HERE))
            await until_told(lab, "No agent is there to ask.")
            lab.service.agents.add(agent)
            await lab.inserted("run", peer)
            assert agent.operations == ["insert"]

    run_async(scene())


def test_a_wish_that_met_a_locked_screen_is_asked_for_when_it_is_unlocked() -> None:
    async def scene() -> None:
        agent = Agent()
        async with at_the_machine('action = "ask"', agent, WISH, Presence(HERE, locked=True)) as (lab, peer):
            await until_told(lab, "The screen is locked")
            lock(lab, locked=False)
            await lab.until(lambda: agent.asked, "the person is asked")
            lock(lab)
            await lab.until(lambda: agent.answers == ["cancelled"], "the question is taken back")
            agent.answers = ["once"]
            lock(lab, locked=False)
            await lab.inserted("run", peer)
            assert len(agent.asked) == 2

    run_async(scene())


def test_a_person_who_has_refused_a_wish_is_not_asked_again_whoever_comes_and_goes() -> None:
    async def scene() -> None:
        agent = Agent("deny")
        async with at_the_machine('action = "ask"', agent, WISH) as (lab, peer):
            await until_told(lab, "Whoever was asked said no.")
            for locked in (True, False):
                lock(lab, locked=locked)
                await lab.settled()
            lab.service.agents.remove(agent)
            lab.service.agents.add(agent)
            await lab.settled()
            assert (len(agent.asked), has_card(peer)) == (1, False)

    run_async(scene())


def test_wishes_that_wait_for_another_question_are_asked_for_one_after_the_other() -> None:
    async def scene() -> None:
        agent = Agent()
        names = [f"vm{number}" for number in range(QUESTIONS_MAX + 2)]
        async with service_lab(policy='[[rule]]\naction = "ask"') as lab:
            lab.daemon.seat.take(Presence(HERE))
            lab.service.agents.add(agent)
            for name in names:
                await lab.define(domain_xml(name, devices=XHCI + lab.reader(name), metadata=WISH))
                lab.peer(name)
                await lab.act(name, "create")
            await lab.until(lambda: len(agent.asked) == QUESTIONS_MAX, "as many as may be are asked")
            waiting = set(names) - {question.domain for question in agent.asked}
            for name in waiting:
                await until_told(lab, "Another question has to be answered first.", name)
            agent.answers = ["once"] * len(names)
            lab.service._reconciler.permits.consents.forget(agent.asked[0].uuid)
            await lab.until(lambda: waiting < {question.domain for question in agent.asked}, "the next are asked")

    run_async(scene())


def test_a_yes_to_a_wish_is_kept_for_the_run_and_not_for_the_next() -> None:
    async def scene() -> None:
        agent = Agent("once")
        async with at_the_machine('action = "ask"', agent, WISH) as (lab, peer):
            await lab.inserted("run", peer)
            kept = Insertions(lab.daemon.settings.runtime_dir)
            assert kept.consents(domain_uuid("run")) == {"reader:one"}
            await lab.act("run", "destroy")
            await lab.until(lambda: lab.bridge("run") is None, "it is off")
            assert Insertions(lab.daemon.settings.runtime_dir).consents(domain_uuid("run")) == frozenset()

    run_async(scene())


def test_a_run_that_ended_unseen_takes_its_card_and_its_yes_along() -> None:
    """What libvirt did not tell is seen by the next look."""

    async def scene() -> None:
        agent = Agent("once")
        async with at_the_machine('action = "ask"', agent) as (lab, peer):
            await lab.insert("run", "reader:one", caller=ALICE)
            await lab.inserted("run", peer)
            lab.service._reconciler.run_of = lambda record: Run(record.id + 1)
            await lab.settled()
            await lab.empty("run", peer)
            assert lab.insertion("run") is None

    run_async(scene())


def test_a_machine_that_is_set_back_to_a_snapshot_keeps_its_card() -> None:
    async def scene() -> None:
        agent = Agent("once")
        async with at_the_machine('action = "ask"', agent) as (lab, peer):
            await lab.insert("run", "reader:one", caller=ALICE)
            await lab.inserted("run", peer)
            lab.service._reconciler.run_of = lambda record: Run(record.id + 1)
            reverted = HypervisorEvent(
                EventKind.LIFECYCLE, domain_uuid("run"), Lifecycle.STOPPED, Stopped.FROM_SNAPSHOT
            )
            lab.service.hearing.on_event(reverted)
            await lab.settled()
            await lab.inserted("run", peer)
            assert lab.insertion("run") == "reader:one"

    run_async(scene())


def test_each_step_of_a_decision_is_on_record_once() -> None:
    records: list[Record] = []

    async def scene() -> None:
        async with at_the_machine('action = "ask"', Agent("once")) as (lab, peer):
            await lab.insert("run", "reader:one", caller=ALICE)
            await lab.inserted("run", peer)
            for _ in range(3):
                await lab.settled()
            rule = f"{lab.daemon.settings.policy.vendor}/50-vendor.toml:1"
            steps = [each for each in records if each.event in {Event.DECIDED, Event.ASKED, Event.ANSWERED}]
            assert [each.event for each in steps] == [Event.DECIDED, Event.ASKED, Event.ANSWERED, Event.DECIDED]
            assert {(each.uuid, each.name, each.source, each.rule) for each in steps} == {
                (domain_uuid("run"), "run", "reader:one", rule)
            }
            assert (steps[0].user, steps[3].user) == ("alice", "alice")
            assert steps[0].reason.endswith("when a person at the machine agrees.")
            assert steps[3].reason == ""

    with patch.object(Journal, "record", lambda _journal, record: records.append(record)):
        run_async(scene())


def test_each_call_that_is_refused_is_on_record_and_a_wish_that_is_refused_once() -> None:
    records: list[Record] = []

    async def scene() -> None:
        async with at_the_machine('action = "deny"', None, WISH) as (lab, _peer):
            await until_told(lab, "does not let run have reader:one")
            for _ in range(3):
                await lab.settled()
            assert len(_decided(records)) == 1
            await refused(lab.insert("run", "reader:two", caller=ALICE), PolicyDenied)
            await refused(lab.insert("run", "reader:two", caller=Caller("bob")), PolicyDenied)
            assert [(each.source, each.user) for each in _decided(records)[1:]] == [
                ("reader:two", "alice"),
                ("reader:two", "bob"),
            ]

    with patch.object(Journal, "record", lambda _journal, record: records.append(record)):
        run_async(scene())


def _decided(records: list[Record]) -> list[Record]:
    return [each for each in records if each.event is Event.DECIDED]
