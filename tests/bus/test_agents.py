"""Agents on the bus: registering, being asked, and every way to be a bad one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from dbus_next.constants import MessageType
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.signature import Variant

from helpers.agents import PATH, AgentPeer, Answers, silence, word
from helpers.bus import (
    NOBODY,
    OTHER,
    REPOSITORY,
    SYSTEM_POLICY,
    PrivateBus,
    call,
    connect_as,
    eventually,
    on_bus,
    private_bus,
    run_async,
)
from helpers.fake_service import WIN11, FakeService
from virtcard import limits
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.names import AGENT, BUS_NAME, MANAGER, ROOT_PATH
from virtcard.policy.model import AskFor
from virtcard.service.ask import Asker
from virtcard.service.decisions import Decisions
from virtcard.service.question import Answer, Choice, Notice, NoticeKind, Question
from virtcard.service.seat import Person, Presence, Seat

CONF = REPOSITORY / "dbus/org.virtcard1.conf"
ME = Person(os.getuid(), "2")
QUESTION = Question(WIN11, "win11", "reader:Yubico", AskFor.INSERT, (Choice.ONCE, Choice.TIME), 600, 5.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon's asker on a bus, and who is asked."""

    service: FakeService
    daemon: Bus
    peer: Bus
    asker: Asker
    address: str

    async def ask(self, **changes: object) -> Answer:
        return await self.asker.ask(replace(QUESTION, **changes))  # type: ignore[arg-type]

    async def agent(self, answers: Answers) -> AgentPeer:
        """One that registered."""
        agent = await AgentPeer.open(self.address, answers)
        await agent.register()
        return agent

    def agents(self) -> int:
        return len(self.service.agents._agents)


@asynccontextmanager
async def scene(private: PrivateBus, person: Person = ME, kind: BusKind = BusKind.SYSTEM) -> AsyncIterator[Scene]:
    service = FakeService().fill()
    seat = Seat()
    seat.take(Presence(person))
    async with on_bus(private.address, service, kind) as (daemon, peer):
        yield Scene(
            service,
            daemon,
            peer,
            Asker(seat, service.agents, service.grants, Decisions(service.record)),
            private.address,
        )


def test_an_agent_learns_who_wants_which_card_for_what(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(word("time"))
            assert await here.ask() == Answer(Choice.TIME, user=ME.uid)
            (asked,) = agent.asked
            assert asked.pop("id")
            assert asked == {
                "domain": "win11",
                "uuid": str(WIN11),
                "source": "reader:Yubico",
                "operation": "insert",
                "choices": ["once", "time", "deny"],
                "seconds": 600,
                "patience": 5,
            }

    run_async(test())


def test_a_name_that_d_bus_cannot_carry_is_asked_for_all_the_same(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(word("once"))
            assert (await here.ask(domain="win\0\udc80")).allowed
            assert agent.asked[0]["domain"] == "win\ufffd?"

    run_async(test())


def _error(call_: Message) -> list[Message]:
    return [Message.new_error(call_, "org.example.Error", "no")]


def _nothing(call_: Message) -> list[Message]:
    return [Message.new_method_return(call_)]


def _typed(signature: str, *body: object) -> Answers:
    return lambda call_: [Message.new_method_return(call_, signature, list(body))]


@pytest.mark.parametrize(
    "rubbish",
    [
        _error,
        _nothing,
        word(""),
        word("allow"),
        word("always"),
        word("once\n"),
        _typed("u", 1),
        _typed("b", True),
        _typed("v", Variant("s", "once")),
        _typed("as", ["once"]),
        _typed("ay", b"once"),
        _typed("a{sv}", {"once": Variant("b", True)}),
        _typed("(s)", ["once"]),
    ],
)
def test_an_agent_that_answers_rubbish_says_no(private: PrivateBus, rubbish: Answers) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.agent(rubbish)
            assert not (await here.ask()).allowed

    run_async(test())


def test_an_agent_that_never_answers_says_no_and_hears_that_it_is_over(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(silence)
            assert (await here.ask(patience=0.2)).why == "Nobody answered in time."
            await eventually(lambda: agent.cancelled, "the question is taken back")
            assert agent.cancelled == [agent.asked[0]["id"]]
            assert here.daemon._method_return_handlers == {}

    run_async(test())


def test_an_answer_that_comes_late_is_not_heard(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(silence)
            assert not (await here.ask(patience=0.2)).allowed
            agent.reply(*word("time")(agent.calls[0]))
            await call(here.peer, ROOT_PATH, MANAGER, "FindDomain", "s", "win11")
            assert (
                await here.ask()
            ).why == "Nobody answered the same question a moment ago, and it is asked again after half a minute."
            assert not (await here.ask(operation="sign", patience=0.2)).allowed

    run_async(test())


def test_the_first_of_two_answers_counts(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(lambda call_: [*word("deny")(call_), *word("once")(call_)])
            assert not (await here.ask()).allowed
            agent.answers = lambda call_: [*word("once")(call_), *word("deny")(call_), *word("time")(call_)]
            assert (await here.ask(operation="sign")).choice is Choice.ONCE
            assert (await here.ask(operation="pin")).choice is Choice.ONCE

    run_async(test())


def test_an_agent_that_vanishes_while_it_is_asked_says_no(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(silence)
            waiting = asyncio.create_task(here.ask())
            await eventually(lambda: agent.asked, "it is asked")
            agent.bus.disconnect()
            assert not (await waiting).allowed
            await eventually(lambda: here.agents() == 0, "it is forgotten")
            assert (await here.ask(operation="sign")).why == "No agent is there to ask."

    run_async(test())


def test_somebody_else_cannot_answer_for_an_agent(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(silence)
            waiting = asyncio.create_task(here.ask(patience=0.5))
            await eventually(lambda: agent.asked, "it is asked")
            forged = Message.new_method_return(agent.calls[0], "s", ["once"])
            here.peer.send(forged)
            assert not (await waiting).allowed

    run_async(test())


def test_an_agent_of_another_user_is_never_asked(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            mine = await here.agent(word("once"))
            theirs = AgentPeer.on(await connect_as(private.address, NOBODY), word("time"))
            await theirs.register()
            assert (await here.ask()).choice is Choice.ONCE
            mine.bus.disconnect()
            await eventually(lambda: here.agents() == 1, "mine is forgotten")
            assert (await here.ask(operation="sign")).why == "No agent is there to ask."
            assert theirs.asked == []

    run_async(test())


def test_the_session_instance_takes_agents_of_its_own_user_only(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private, kind=BusKind.SESSION) as here:
            theirs = AgentPeer.on(await connect_as(private.address, NOBODY), word("once"))
            assert (await theirs.manage("RegisterAgent")).error_name == "org.virtcard1.Error.NotAuthorized"
            await here.agent(word("once"))
            assert (await here.ask()).allowed

    run_async(test())


def test_registering_twice_is_registering_once(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(word("once"))
            await asyncio.gather(*(agent.manage("RegisterAgent") for _ in range(20)))
            assert here.agents() == 1

    run_async(test())


def test_an_agent_may_leave(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(word("once"))
            await agent.manage("UnregisterAgent", "/other")
            assert (await here.ask()).allowed
            await agent.manage("UnregisterAgent")
            assert not (await here.ask()).allowed
            await agent.register()
            assert (await here.ask(operation="sign")).allowed

    run_async(test())


def test_nobody_can_unregister_the_agent_of_another(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.agent(word("once"))
            await call(here.peer, ROOT_PATH, MANAGER, "UnregisterAgent", "o", PATH)
            assert (await here.ask()).allowed

    run_async(test())


def test_too_many_agents_of_one_user_are_refused(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(word("once"))
            for number in range(limits.AGENTS_PER_USER - 1):
                await agent.manage("RegisterAgent", f"/agent{number}")
            assert (await agent.manage("RegisterAgent", "/more")).error_name == "org.virtcard1.Error.Busy"

    run_async(test())


def test_an_agent_whose_leaving_the_bus_does_not_tell_is_refused() -> None:
    """A yes to it would be a lie: it would be dropped at once."""

    async def test() -> None:
        limit = '<limit name="max_match_rules_per_connection">0</limit>'
        with private_bus(extra=limit) as full:
            async with scene(full) as here:
                agent = await AgentPeer.open(full.address, word("once"))
                assert (await agent.manage("RegisterAgent")).error_name == "org.virtcard1.Error.Busy"
                assert here.agents() == 0

    run_async(test())


def test_one_user_cannot_use_up_the_rules_by_which_the_bus_tells_who_leaves() -> None:
    async def test() -> None:
        limit = f'<limit name="max_match_rules_per_connection">{2 * limits.LOOKS_PER_USER + 2}</limit>'
        with private_bus(extra=limit) as tight:
            async with scene(tight) as here:
                peer = AgentPeer.on(await connect_as(tight.address, NOBODY), word("once"))
                other = AgentPeer.on(await connect_as(tight.address, OTHER), word("once"))
                crowd = [asyncio.ensure_future(peer.manage("RegisterAgent", f"/agent{each}")) for each in range(100)]
                last = asyncio.ensure_future(other.manage("RegisterAgent"))
                assert (await last).error_name is None
                refusals = {reply.error_name for reply in await asyncio.gather(*crowd)}
                assert refusals <= {None, "org.virtcard1.Error.Busy"}
                assert here.agents() <= limits.AGENTS_PER_USER + 1

    run_async(test())


def test_agents_that_come_and_go_leave_no_rule_behind() -> None:
    """Or one user could have the bus tell nobody any more who leaves."""

    async def test() -> None:
        limit = f'<limit name="max_match_rules_per_connection">{2 * limits.LOOKS_PER_USER}</limit>'
        with private_bus(extra=limit) as tight:
            async with scene(tight) as here:
                agent = await here.agent(word("once"))
                handlers = len(here.daemon._user_message_handlers)
                for _ in range(4 * limits.LOOKS_PER_USER):
                    await agent.manage("UnregisterAgent")
                    await agent.register()
                assert here.agents() == 1
                assert (await here.ask()).allowed
                await eventually(lambda: len(here.daemon._user_message_handlers) == handlers, "nobody else listens")
                await eventually(lambda: len(here.daemon._tasks) == 1, "one task is left")

    run_async(test())


def test_an_agent_that_left_and_came_again_at_once_is_there(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(word("once"))
            await asyncio.gather(agent.manage("UnregisterAgent"), agent.manage("RegisterAgent"))
            await eventually(lambda: len(here.daemon._tasks) == 1, "the first registration has ended")
            assert (await here.ask()).allowed

    run_async(test())


def test_a_registration_that_the_bus_refused_takes_no_rule_from_another() -> None:
    async def test() -> None:
        with private_bus(extra='<limit name="max_match_rules_per_connection">2</limit>') as tight:
            async with scene(tight) as here:
                agent, _other = await here.agent(word("once")), await here.agent(word("once"))
                assert (await agent.manage("RegisterAgent", "/more")).error_name == "org.virtcard1.Error.Busy"
                agent.bus.disconnect()
                await eventually(lambda: here.agents() == 1, "its leaving is noticed")

    run_async(test())


def test_a_notice_reaches_the_agent(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            agent = await here.agent(silence)
            here.asker.tell(Notice(NoticeKind.PIN_GUARD, WIN11, "win11", "reader:Yubico"))
            await eventually(lambda: agent.told, "it is told")
            assert agent.told == [
                {"kind": "pin-guard", "domain": "win11", "uuid": str(WIN11), "source": "reader:Yubico"}
            ]

    run_async(test())


def test_on_a_bus_as_strict_as_the_system_bus_the_daemon_may_call_agents_and_others_may_not() -> None:
    async def test() -> None:
        with private_bus(policy=SYSTEM_POLICY, extra=f"<include>{CONF}</include>") as strict:
            async with scene(strict, Person(NOBODY, "2")) as here:
                agent = AgentPeer.on(await connect_as(strict.address, NOBODY), word("once"))
                assert (await agent.manage("RegisterAgent")).message_type is MessageType.METHOD_RETURN
                assert (await here.ask()).allowed
                stranger = await connect_as(strict.address, 1)
                with pytest.raises(DBusError) as refused:
                    await stranger.ask(str(agent.bus.unique_name), PATH, AGENT, "Cancel", "s", ["1"])
                assert refused.value.type == "org.freedesktop.DBus.Error.AccessDenied"
                assert (await stranger.ask_bus("NameHasOwner", "s", [BUS_NAME])) == [True]

    run_async(test())
