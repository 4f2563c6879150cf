"""The policy at work: what it denies does not go in, and what it denies later goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import libvirt
import pytest

from helpers.bus import run_async
from helpers.domains import XHCI, domain_uuid, domain_xml
from helpers.fake_card import FakeCard
from helpers.services import OWNER, ServiceLab, has_card, refused, running_lab, service_lab, wish_metadata, wish_xml
from virtcard.card.base import CardEvent
from virtcard.errors import CardError, PolicyBroken, PolicyDenied
from virtcard.policy.decide import Request
from virtcard.policy.model import AskFor, Rule
from virtcard.service.api import Caller
from virtcard.service.question import Answer, Choice

ALICE = Caller("alice")
BOB = Caller("bob")

ALLOW = 'action = "allow"'
ASK = 'action = "ask"'
DENY = 'action = "deny"'


class Person:
    """Answers questions: yes without `no`, and only after `gate` is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Caller | None]] = []
        self.no = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: Request, rule: Rule, operation: AskFor, caller: Caller | None) -> Answer:
        self.asked.append((request.card, operation, caller))
        await self.gate.wait()
        return Answer(Choice.DENY, self.no) if self.no else Answer(Choice.ONCE)


class ReaderFake(FakeCard):
    """A card that says in which reader it is."""

    reader = "Bank 00 00"


def run(scene: Coroutine[Any, Any, None]) -> None:
    run_async(scene)


async def until_out(lab: ServiceLab, peer: Any) -> None:
    await lab.empty("run", peer)
    assert lab.view("run").card == ""


def test_without_a_rule_that_fits_nothing_goes_in() -> None:
    async def scene() -> None:
        async with running_lab(policy="") as (lab, peer):
            error = await refused(lab.insert("run", "reader:one"), PolicyDenied)
            assert error.message == "The policy does not let run have reader:one."
            assert error.hint.startswith("No rule fits, and then the answer is no.")
            assert (lab.insertion("run"), has_card(peer)) == (None, False)

    run(scene())


def test_the_rule_that_denies_is_named_to_those_who_may_write_it_and_to_nobody_else() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, _peer):
            await lab.policy(DENY)
            place = f"{lab.daemon.settings.policy.admin}/50-test.toml:1"
            assert f"{place} says so." in (await refused(lab.insert("run", "reader:one"), PolicyDenied)).hint
            told = await refused(lab.insert("run", "reader:one", caller=ALICE), PolicyDenied)
            assert "50-test" not in told.message + told.hint
            assert told.hint == "See: virtcard policy explain run reader:one"

    run(scene())


def test_a_change_ejects_at_once_what_is_denied_now_and_brings_back_what_is_allowed_again() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            await lab.policy(f'card = "reader:one"\n{DENY}')
            assert lab.view("run").card == "reader:one" or not has_card(peer)
            await until_out(lab, peer)
            await lab.until(lambda: "does not let run have reader:one" in lab.view("run").last_error, "it is told why")
            await lab.policy(f'card = "reader:one"\n{ALLOW}')
            await lab.inserted("run", peer)

    run(scene())


def test_a_change_that_says_the_same_of_a_card_leaves_it_in() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.policy(f'vm = "run"\n{ALLOW}')
            await lab.insert("run", "reader:one")
            await lab.policy('vm = "other"\naction = "deny"', f'vm = "ru*"\n{ALLOW}')
            await lab.settled()
            assert peer.types().count(5) == 1
            assert has_card(peer)

    run(scene())


@pytest.mark.parametrize("line", ['commands = "read"', "pin-reserve = 3", 'sharing = "exclusive"'])
def test_a_change_of_what_stands_before_the_card_puts_it_in_anew(line: str) -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.policy(f"{ALLOW}")
            await lab.insert("run", "reader:one")
            await lab.policy(f"{ALLOW}\n{line}")
            await lab.until(lambda: peer.types().count(5) == 2, "a second ATR")
            await lab.inserted("run", peer)
            assert lab.source.card("one").on

    run(scene())


def test_a_change_acts_although_the_domain_cannot_be_looked_at_now() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            async with lab.service._turns.turn(domain_uuid("run")):
                await lab.policy(f'{ALLOW}\ncommands = "read"')
                await lab.empty("run", peer)
            await lab.inserted("run", peer)

    run(scene())


def test_a_card_that_cannot_go_in_anew_is_out_and_not_in_by_the_rule_before() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            card = lab.source.cards["Bank 00 00"] = ReaderFake()
            await lab.insert("run", "reader:Bank 00 00")
            lab.source.cards["Bank 00 00"] = CardError("The reader is in use elsewhere.")
            await lab.policy(f'{ALLOW}\ncommands = "read"')
            await until_out(lab, peer)
            await lab.until(lambda: lab.view("run").last_error == "The reader is in use elsewhere.", "it is told why")
            lab.source.cards["Bank 00 00"] = card
            await lab.settled()
            await lab.inserted("run", peer)

    run(scene())


def test_what_is_denied_while_a_card_is_on_its_way_in_anew_stays_out() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            lab.source.cards["Bank 00 00"] = ReaderFake()
            await lab.insert("run", "reader:Bank 00 00")
            opened = len(lab.source.opened)
            lab.source.gate.clear()
            await lab.policy(f'{ALLOW}\ncommands = "read"')
            await lab.until(lambda: len(lab.source.opened) > opened, "it is being opened")
            await lab.policy(DENY)
            lab.source.gate.set()
            await until_out(lab, peer)
            await lab.settled()
            assert peer.types().count(5) == 1, "the guest saw one card, the first"

    run(scene())


def test_a_bad_file_leaves_the_last_good_policy_in_use_and_the_status_says_so() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            error = await refused(lab.policy('action = "maybe"'), PolicyBroken)
            assert "50-test.toml:2: rule.action: 'maybe' is not known here." in error.message
            assert "virtcard policy lint" in error.hint
            status = lab.service.status()
            assert (status.policy, status.policy_error) == ("degraded", error.message)
            assert has_card(peer)
            await lab.eject("run")
            await lab.insert("run", "reader:one")
            await lab.policy(ALLOW)
            assert (lab.service.status().policy, lab.service.status().policy_error) == ("ok", "")

    run(scene())


def test_a_bad_file_at_the_start_denies_everything() -> None:
    async def scene() -> None:
        async with running_lab(policy='[[rule]]\naction = "allow"\ncolour = 1\n') as (lab, _peer):
            assert lab.service.status().policy == "broken"
            await refused(lab.insert("run", "reader:one"), PolicyDenied)
            await refused(lab.policy(DENY), PolicyBroken)
            (lab.daemon.settings.policy.vendor / "50-vendor.toml").unlink()
            await lab.policy(ALLOW)
            await lab.insert("run", "reader:one")

    run(scene())


def test_a_file_that_changes_is_heard_of_without_a_word() -> None:
    async def scene() -> None:
        async with running_lab() as (lab, peer):
            await lab.insert("run", "reader:one")
            lab.write_policy(DENY)
            await until_out(lab, peer)
            (lab.daemon.settings.policy.admin / "50-test.toml").chmod(0o666)
            await lab.until(lambda: lab.service.status().policy == "degraded", "it is not believed")
            (lab.daemon.settings.policy.admin / "50-test.toml").unlink()
            await lab.inserted("run", peer)

    run(scene())


def test_a_rule_for_a_user_is_for_the_calls_of_that_user() -> None:
    async def scene() -> None:
        async with running_lab(policy='[[rule]]\nuser = "alice"\naction = "allow"\n') as (lab, peer):
            await refused(lab.insert("run", "reader:one", caller=BOB), PolicyDenied)
            await lab.insert("run", "reader:one", caller=ALICE)
            await refused(lab.insert("run", "reader:one", caller=BOB), PolicyDenied)
            await lab.settled()
            assert has_card(peer), "a call that is refused takes nothing out"

    run(scene())


def test_a_rule_for_a_tag_is_for_domains_whose_metadata_has_it() -> None:
    async def scene() -> None:
        async with service_lab(policy='[[rule]]\nvm = "@work"\naction = "allow"\n') as lab:
            for name, tags in (("run", "home work"), ("other", "home")):
                xml = wish_metadata("reader:one").replace(" card=", f" tags='{tags}' card=")
                await lab.define(domain_xml(name, devices=XHCI + lab.reader(name), metadata=xml))
                peer = lab.peer(name)
                await lab.act(name, "create")
            await lab.until(lambda: lab.service.registry.domains.get(domain_uuid("other")), "the other is shown")
            await lab.until(lambda: "does not let other" in lab.view("other").last_error, "the other is refused")
            await lab.until(lambda: lab.view("run").card == "reader:one", "the first has it")
            assert lab.view("run").tags == ("home", "work")
            assert peer.atr is None

    run(scene())


def test_tags_outlive_a_wish() -> None:
    async def scene() -> None:
        async with service_lab(domain_xml("off", devices=XHCI)) as lab:
            await lab.wish("off", "<vm tags='work'/>")
            await lab.until(lambda: lab.view("off").tags == ("work",), "the tag is seen")
            assert not lab.view("off").enabled, "a tag is no wish"
            await lab.act("off", "destroy")
            await lab.insert("off", "reader:one", config=True)
            assert (lab.view("off").wish, lab.view("off").tags) == ("reader:one", ("work",))
            await lab.eject("off", config=True)
            assert (lab.view("off").wish, lab.view("off").tags) == ("", ("work",))

    run(scene())


def test_a_call_waits_for_the_answer_and_the_card_goes_in_with_a_yes() -> None:
    async def scene() -> None:
        person = Person()
        async with running_lab(policy="[[rule]]\naction='ask'\n", ask=person) as (lab, peer):
            person.gate.clear()
            call = asyncio.create_task(lab.insert("run", "reader:one", caller=ALICE))
            await lab.until(lambda: person.asked, "the person is asked")
            assert person.asked == [("reader:one", AskFor.INSERT, ALICE)]
            await lab.settled()
            assert (has_card(peer), lab.insertion("run")) == (False, None)
            person.gate.set()
            await call
            assert has_card(peer)
            await lab.settled()
            assert len(person.asked) == 1

    run(scene())


def test_a_no_is_told_and_the_next_call_asks_again() -> None:
    async def scene() -> None:
        person = Person()
        async with running_lab(policy="[[rule]]\naction='ask'\n", ask=person) as (lab, peer):
            person.no = "The person at the machine said no."
            error = await refused(lab.insert("run", "reader:one", caller=ALICE), PolicyDenied)
            assert error.message == "The person at the machine said no."
            assert not has_card(peer)
            person.no = ""
            await lab.insert("run", "reader:one", caller=ALICE)
            assert len(person.asked) == 2

    run(scene())


def test_without_an_agent_the_owners_own_call_is_the_answer_and_everybody_else_gets_a_no() -> None:
    async def scene() -> None:
        async with running_lab(policy="[[rule]]\naction='ask'\n") as (lab, peer):
            error = await refused(lab.insert("run", "reader:one", caller=ALICE), PolicyDenied)
            assert "Nobody is logged in at the machine who could be asked" in error.message
            await lab.insert("run", "reader:one", caller=OWNER)
            await lab.settled()
            assert has_card(peer)

    run(scene())


def test_a_yes_survives_the_daemon_and_asks_nobody_again() -> None:
    async def scene() -> None:
        async with running_lab(policy="[[rule]]\naction='ask'\n") as (lab, _peer):
            await lab.insert("run", "reader:one")
            insertion = lab.service._reconciler.insertions.get(domain_uuid("run"))
            assert insertion is not None
            assert (insertion.user, insertion.consent) == ("root", "reader:one")

    run(scene())


def test_a_wish_is_asked_for_once_in_each_run_of_the_machine() -> None:
    async def scene() -> None:
        person = Person()
        person.gate.clear()
        async with running_lab(wish_metadata("reader:one"), policy="[[rule]]\naction='ask'\n", ask=person) as (
            lab,
            peer,
        ):
            await lab.until(lambda: person.asked, "the person is asked")
            assert person.asked == [("reader:one", AskFor.INSERT, None)]
            await lab.until(lambda: "when a person at the machine agrees" in lab.view("run").last_error, "it is told")
            for _ in range(3):
                await lab.settled()
            assert (len(person.asked), has_card(peer)) == (1, False)
            person.gate.set()
            await lab.inserted("run", peer)
            await lab.settled()
            assert len(person.asked) == 1
            await lab.act("run", "destroy")
            await lab.until(lambda: lab.bridge("run") is None, "it is off")
            person.no = "Nobody answered in time."
            await lab.act("run", "create")
            await lab.until(lambda: lab.view("run").last_error == person.no, "the no is told")
            await lab.settled()
            await lab.empty("run", peer)
            assert len(person.asked) == 2

    run(scene())


def test_a_yes_ends_with_the_virtual_reader() -> None:
    async def scene() -> None:
        person = Person()
        async with running_lab(wish_metadata("reader:one"), policy="[[rule]]\naction='ask'\n", ask=person) as (
            lab,
            peer,
        ):
            await lab.inserted("run", peer)
            await lab.disable("run")
            await lab.empty("run", peer)
            person.gate.clear()
            await lab.wish("run", wish_xml("reader:one"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            await lab.until(lambda: len(person.asked) == 2, "the person is asked again")
            assert not has_card(peer)

    run(scene())


def test_a_rule_that_asks_from_now_on_takes_the_card_out_until_somebody_says_yes() -> None:
    async def scene() -> None:
        person = Person()
        person.gate.clear()
        async with running_lab(ask=person) as (lab, peer):
            await lab.insert("run", "reader:one", caller=ALICE)
            assert person.asked == []
            await lab.policy(ASK)
            await until_out(lab, peer)
            await lab.until(lambda: person.asked, "the person is asked")
            person.gate.set()
            await lab.inserted("run", peer)

    run(scene())


def test_a_source_that_is_a_glob_is_judged_by_the_reader_that_it_means() -> None:
    async def scene() -> None:
        async with running_lab(policy='[[rule]]\ncard = "reader:Yubico*"\naction = "allow"\n') as (lab, _peer):
            lab.source.cards["*"] = ReaderFake()
            error = await refused(lab.insert("run", "reader:*"), PolicyDenied)
            assert "reader:Bank 00 00" in error.message
            await lab.policy(f'card = "reader:Bank*"\n{ALLOW}')
            lab.source.cards["Bank 00 00"] = lab.source.cards["*"]
            await lab.insert("run", "reader:*")

    run(scene())


def test_another_card_in_the_reader_is_judged_before_the_guest_sees_it() -> None:
    async def scene() -> None:
        async with running_lab(policy='[[rule]]\natr = "3B:04:*"\naction = "deny"\n[[rule]]\naction = "allow"\n') as (
            lab,
            peer,
        ):
            card = ReaderFake()
            card.atr = b"\x3b\x03one"
            lab.source.cards["Bank 00 00"] = card
            await lab.insert("run", "reader:Bank 00 00")
            card.report(CardEvent.REMOVED)
            await lab.empty("run", peer)
            card.atr = b"\x3b\x04evil"
            card.report(CardEvent.INSERTED)
            await lab.until(lambda: "does not let run have" in lab.view("run").last_error, "it is refused")
            assert not has_card(peer)
            assert lab.view("run").card == ""
            assert not any(b"evil" in message.payload for message in peer.received)

    run(scene())


def test_another_card_in_the_reader_needs_another_yes() -> None:
    async def scene() -> None:
        person = Person()
        async with running_lab(policy="[[rule]]\naction='ask'\n", ask=person) as (lab, peer):
            card = ReaderFake()
            card.atr = b"\x3b\x03one"
            lab.source.cards["Bank 00 00"] = card
            await lab.insert("run", "reader:Bank 00 00", caller=ALICE)
            before = len(person.asked)
            card.report(CardEvent.REMOVED)
            await lab.empty("run", peer)
            card.atr = b"\x3b\x03two"
            person.gate.clear()
            card.report(CardEvent.INSERTED)
            await lab.until(lambda: len(person.asked) > before, "the person is asked again")
            assert not has_card(peer)
            person.gate.set()
            await lab.inserted("run", peer)

    run(scene())


def test_enable_does_with_other_devices_what_the_policy_says() -> None:
    spice = "<smartcard mode='passthrough' type='spicevmc'/>"

    async def scene() -> None:
        rule = '[[rule]]\nvm = "off"\naction = "deny"\non-existing = "replace"\n'
        async with service_lab(domain_xml("off", devices=XHCI + spice), policy=rule) as lab:
            await lab.enable("off", on_existing="keep")
            assert not lab.view("off").enabled
            await lab.enable("off")
            assert lab.view("off").enabled

    run(scene())
