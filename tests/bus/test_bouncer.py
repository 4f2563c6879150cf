"""Who may call what: root, polkit, the session's own user, and nobody."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from dbus_next.constants import MessageFlag
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.signature import Variant

from helpers.bus import NOBODY, OTHER, PrivateBus, call, connect_as, eventually, on_bus, private_bus, run_async
from helpers.fake_service import WIN11, FakeService
from helpers.polkit import mock_polkit, silent_polkit, tell_mock
from virtcard import limits
from virtcard.bus import caller
from virtcard.bus.address import BusKind
from virtcard.bus.bouncer import TABLE, Bouncer
from virtcard.bus.connection import Bus
from virtcard.bus.standard import OBJECT_MANAGER
from virtcard.names import (
    ACTION_EJECT,
    ACTION_ENABLE,
    ACTION_INSERT,
    ACTION_MANAGE_CARDS,
    BUS_NAME,
    DOMAIN,
    MANAGER,
    ROOT_PATH,
    domain_path,
)
from virtcard.service.record import Event, Record

PATH = domain_path(WIN11)
NOT_AUTHORIZED = "org.virtcard1.Error.NotAuthorized"
TIMED_OUT = "org.virtcard1.Error.Timeout"
BUSY = "org.virtcard1.Error.Busy"


async def insert(peer: Bus, flags: MessageFlag = MessageFlag.NONE) -> list[Any]:
    return await peer.ask(BUS_NAME, PATH, DOMAIN, "Insert", "sa{sv}", ["card:piv", {}], flags=flags, timeout=10.0)


async def look(peer: Bus) -> list[Any]:
    return await peer.ask(BUS_NAME, PATH, DOMAIN, "Check", "a{sv}", [{}], timeout=10.0)


def with_config(peer: Bus, member: str, value: Variant) -> Callable[[], Awaitable[list[Any]]]:
    """Insert or Eject with the option "config"."""
    signature, body = (
        ("sa{sv}", ["card:piv", {"config": value}]) if member == "Insert" else ("a{sv}", [{"config": value}])
    )
    return lambda: peer.ask(BUS_NAME, PATH, DOMAIN, member, signature, body, timeout=10.0)


async def refusal(peer: Bus) -> DBusError:
    with pytest.raises(DBusError) as caught:
        await insert(peer)
    return caught.value


def test_without_polkit_root_may_and_others_may_not(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            await insert(root)
            user = await connect_as(private.address, NOBODY)
            service.calls.clear()
            error = await refusal(user)
            assert error.type == NOT_AUTHORIZED
            assert error.text.startswith("Only root may do that while polkit is not there.\n")
            assert service.calls == []
            await user.close()

    run_async(test())


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Users' names come from a directory over a network that is away. For whom somebody waits."""
    answered, waiting = threading.Event(), list[int]()

    def wait(uid: int) -> pwd.struct_passwd:
        waiting.append(uid)
        answered.wait(10)
        raise KeyError(uid)

    monkeypatch.setattr(caller, "NAME_PATIENCE", 0.1)
    monkeypatch.setattr(pwd, "getpwuid", wait)
    yield waiting
    answered.set()


def test_a_caller_whose_name_is_not_found_in_time_is_refused(private: PrivateBus, slow_names: list[int]) -> None:
    """Or a rule for that user by name, a denial it may be, would be passed over."""

    async def test() -> None:
        with mock_polkit(private.address):
            service = FakeService().fill()
            async with on_bus(private.address, service) as (_, root):
                await tell_mock(root, "AllowUnknown", "b", True)
                user = await connect_as(private.address, NOBODY)
                error = await refusal(user)
                assert error.type == TIMED_OUT
                assert error.text.startswith(f"The name of user {NOBODY} was not found in time")
                assert service.calls == []
                await user.close()

    run_async(test())


def test_a_caller_whose_name_does_not_come_costs_one_thread_however_often_it_calls(
    private: PrivateBus, slow_names: list[int]
) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService().fill()):
            user = await connect_as(private.address, NOBODY)
            for _ in range(2):
                crowd = await asyncio.gather(*(insert(user) for _ in range(40)), return_exceptions=True)
                assert {each.type for each in crowd if isinstance(each, DBusError)} <= {TIMED_OUT, BUSY}
            assert slow_names == [NOBODY]
            await user.close()

    run_async(test())


def test_root_needs_no_directory_of_names(private: PrivateBus, slow_names: list[int]) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            await insert(root)
            assert service.callers[-1].name == "root"

    run_async(test())


def test_everybody_may_look_without_polkit(private: PrivateBus) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService().fill()):
            user = await connect_as(private.address, NOBODY)
            assert len((await call(user, ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects"))[0]) == 3
            assert await call(user, ROOT_PATH, MANAGER, "FindDomain", "s", "win11") == [PATH]
            assert len((await call(user, PATH, DOMAIN, "Check", "a{sv}", {}))[0]) == 1
            await user.close()

    run_async(test())


def test_polkit_decides_for_each_action(private: PrivateBus) -> None:
    async def test() -> None:
        with mock_polkit(private.address):
            async with on_bus(private.address, FakeService().fill()) as (_, root):
                await tell_mock(root, "SetAllowed", "as", [ACTION_INSERT])
                user = await connect_as(private.address, NOBODY)
                await insert(user)
                with pytest.raises(DBusError) as caught:
                    await call(user, PATH, DOMAIN, "Enable", "a{sv}", {})
                assert caught.value.type == NOT_AUTHORIZED
                assert "org.virtcard1.enable" in caught.value.text
                await tell_mock(root, "SetAllowed", "as", [ACTION_EJECT])
                assert (await refusal(user)).type == NOT_AUTHORIZED
                assert await call(user, PATH, DOMAIN, "Eject", "a{sv}", {}) == []
                await user.close()

    run_async(test())


def test_a_hanging_polkit_does_not_stop_the_daemon(private: PrivateBus) -> None:
    async def test() -> None:
        with mock_polkit(private.address):
            async with on_bus(private.address, FakeService().fill()) as (_, root):
                await tell_mock(root, "AllowUnknown", "b", True)
                await tell_mock(root, "SimulateHang", "b", True)
                user = await connect_as(private.address, NOBODY)
                waiting = asyncio.ensure_future(insert(user))
                while not (await tell_mock(root, "HaveHangingCalls"))[0]:
                    await asyncio.sleep(0.01)
                await insert(root)
                assert await call(user, ROOT_PATH, MANAGER, "FindDomain", "s", "win11") == [PATH]
                assert not waiting.done()
                await tell_mock(root, "ReleaseHangingCalls")
                assert len(await waiting) == 1
                await user.close()

    run_async(test())


def test_polkit_learns_the_caller_the_action_and_the_details(private: PrivateBus) -> None:
    async def test() -> None:
        async with silent_polkit(private.address) as asked, on_bus(private.address, FakeService().fill()):
            user = await connect_as(private.address, NOBODY)
            waiting = asyncio.ensure_future(insert(user))
            await eventually(lambda: asked.checks, "polkit is asked")
            subject, action, details, flags, cancellation_id = asked.checks[0].body
            assert subject[0] == "system-bus-name"
            assert subject[1]["name"].value == user.unique_name
            assert action == ACTION_INSERT
            assert details == {"domain": "win11", "uuid": str(WIN11), "source": "card:piv"}
            assert flags == 0
            assert cancellation_id
            await user.close()
            with suppress(Exception):
                await waiting

    run_async(test())


@pytest.mark.parametrize(("member", "action"), [("Insert", ACTION_INSERT), ("Eject", ACTION_EJECT)])
def test_whoever_may_insert_and_eject_may_not_change_the_configuration_by_it(
    private: PrivateBus, member: str, action: str
) -> None:
    """A wish makes virtcardd give the domain a reader, which is what `enable` is about."""

    async def test() -> None:
        service = FakeService().fill()
        with mock_polkit(private.address):
            async with on_bus(private.address, service) as (_, root):
                user = await connect_as(private.address, NOBODY)
                change = with_config(user, member, Variant("b", True))
                for allowed in ([action], [ACTION_ENABLE]):
                    await tell_mock(root, "SetAllowed", "as", allowed)
                    with pytest.raises(DBusError) as caught:
                        await change()
                    assert caught.value.type == NOT_AUTHORIZED
                    assert service.calls == []
                await tell_mock(root, "SetAllowed", "as", [action])
                await with_config(user, member, Variant("b", False))()
                await tell_mock(root, "SetAllowed", "as", [action, ACTION_ENABLE])
                await change()
                assert len(service.calls) == 2
                await user.close()
        sentences = [record.sentence for record in service.records if record.event is Event.ADMITTED]
        assert [each.partition(" (")[2] for each in sentences] == [f"{action}).", f"{action}, {ACTION_ENABLE})."]

    run_async(test())


@pytest.mark.parametrize("wrong", [Variant("s", "yes"), Variant("x", 1), Variant("as", [])])
def test_an_option_of_the_wrong_type_passes_no_gate_and_changes_nothing(private: PrivateBus, wrong: Variant) -> None:
    async def test() -> None:
        service = FakeService().fill()
        with mock_polkit(private.address):
            async with on_bus(private.address, service) as (_, root):
                await tell_mock(root, "SetAllowed", "as", [ACTION_INSERT])
                user = await connect_as(private.address, NOBODY)
                with pytest.raises(DBusError) as caught:
                    await with_config(user, "Insert", wrong)()
                assert caught.value.type == NOT_AUTHORIZED
                with pytest.raises(DBusError) as caught:
                    await with_config(root, "Insert", wrong)()
                assert caught.value.type == "org.virtcard1.Error.InvalidArgument"
                assert service.calls == []
                await user.close()

    run_async(test())


def test_polkit_learns_what_a_glob_means(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        service.meanings["reader:*"] = "reader:Yubico YubiKey 00"
        async with silent_polkit(private.address) as asked, on_bus(private.address, service):
            user = await connect_as(private.address, NOBODY)
            call_it = user.ask(BUS_NAME, PATH, DOMAIN, "Insert", "sa{sv}", ["reader:*", {}], timeout=10.0)
            waiting = asyncio.ensure_future(call_it)
            await eventually(lambda: asked.checks, "polkit is asked")
            assert asked.checks[0].body[2]["source"] == "reader:Yubico YubiKey 00"
            await user.close()
            with suppress(Exception):
                await waiting

    run_async(test())


def test_a_person_is_asked_only_when_the_caller_allows_it(private: PrivateBus) -> None:
    async def test() -> None:
        async with silent_polkit(private.address) as asked, on_bus(private.address, FakeService().fill()):
            user = await connect_as(private.address, NOBODY)
            waiting = asyncio.ensure_future(insert(user, MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION))
            await eventually(lambda: asked.checks, "polkit is asked")
            assert asked.checks[0].body[3] == 1
            await user.close()
            with suppress(Exception):
                await waiting

    run_async(test())


def test_a_caller_that_leaves_takes_its_question_along(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with silent_polkit(private.address) as asked, on_bus(private.address, service) as (daemon, root):
            user = await connect_as(private.address, NOBODY)
            waiting = asyncio.ensure_future(insert(user))
            await eventually(lambda: asked.checks, "polkit is asked")
            await user.close()
            await eventually(lambda: asked.cancelled, "polkit hears that it is over")
            assert asked.cancelled == [asked.checks[0].body[4]]
            assert service.calls == []
            await eventually(lambda: not daemon._tasks, "nothing is left of the call")
            assert daemon._method_return_handlers == {}
            await insert(root)
            with suppress(Exception):
                await waiting

    run_async(test())


def test_a_polkit_that_dies_while_it_thinks_has_said_no(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            async with silent_polkit(private.address) as asked:
                user = await connect_as(private.address, NOBODY)
                waiting = asyncio.ensure_future(insert(user))
                await eventually(lambda: asked.checks, "polkit is asked")
            with pytest.raises(DBusError) as caught:
                await waiting
            assert caught.value.type == NOT_AUTHORIZED
            assert service.calls == []
            await insert(root)
            await user.close()

    run_async(test())


def test_a_daemon_may_end_while_polkit_thinks(private: PrivateBus) -> None:
    async def test() -> None:
        async with (
            silent_polkit(private.address) as asked,
            on_bus(private.address, FakeService().fill()) as (daemon, _),
        ):
            user = await connect_as(private.address, NOBODY)
            waiting = asyncio.ensure_future(insert(user))
            await eventually(lambda: asked.checks, "polkit is asked")
            await daemon.close()
            with pytest.raises(DBusError) as caught:
                await waiting
            assert caught.value.type == "org.freedesktop.DBus.Error.NoReply"
            await user.close()

    run_async(test())


def test_one_user_cannot_fill_the_queue_of_all(private: PrivateBus) -> None:
    async def test() -> None:
        async with silent_polkit(private.address) as asked, on_bus(private.address, FakeService().fill()):
            user = await connect_as(private.address, NOBODY)
            waiting = [asyncio.ensure_future(insert(user)) for _ in range(limits.CHECKS_PER_USER)]
            await eventually(lambda: len(asked.checks) == limits.CHECKS_PER_USER, "polkit is asked")
            assert (await refusal(user)).type == BUSY
            other = await connect_as(private.address, OTHER)
            theirs = asyncio.ensure_future(insert(other))
            await eventually(lambda: len(asked.checks) == limits.CHECKS_PER_USER + 1, "the other is heard")
            await user.close()
            await eventually(lambda: len(asked.cancelled) == limits.CHECKS_PER_USER, "all are taken back")
            again = await connect_as(private.address, NOBODY)
            last = asyncio.ensure_future(insert(again))
            await eventually(lambda: len(asked.checks) == limits.CHECKS_PER_USER + 2, "there is room again")
            await other.close()
            await again.close()
            await asyncio.gather(*waiting, theirs, last, return_exceptions=True)

    run_async(test())


def test_one_user_cannot_use_up_the_rules_by_which_the_bus_tells_who_leaves() -> None:
    async def test() -> None:
        limit = f'<limit name="max_match_rules_per_connection">{2 * limits.CHECKS_PER_USER}</limit>'
        with private_bus(extra=limit) as tight:
            async with silent_polkit(tight.address) as asked, on_bus(tight.address, FakeService().fill()):
                user, other = await connect_as(tight.address, NOBODY), await connect_as(tight.address, OTHER)
                crowd = [asyncio.ensure_future(insert(user)) for _ in range(8 * limits.CHECKS_PER_USER)]
                theirs = asyncio.ensure_future(insert(other))
                await eventually(lambda: len(asked.checks) == limits.CHECKS_PER_USER + 1, "the other is heard")
                await user.close()
                await other.close()
                await asyncio.gather(*crowd, theirs, return_exceptions=True)

    run_async(test())


def test_what_takes_work_is_open_to_everybody_some_at_a_time(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        service.hold_looks = asyncio.Event()
        async with on_bus(private.address, service) as (_, root):
            user, other = await connect_as(private.address, NOBODY), await connect_as(private.address, OTHER)
            waiting = [asyncio.ensure_future(look(user)) for _ in range(limits.LOOKS_PER_USER)]
            await eventually(lambda: len(service.calls) == limits.LOOKS_PER_USER, "all are in work")
            with pytest.raises(DBusError) as caught:
                await look(user)
            assert caught.value.type == BUSY
            assert await call(user, ROOT_PATH, MANAGER, "FindDomain", "s", "win11") == [PATH]
            waiting += [asyncio.ensure_future(look(other)), asyncio.ensure_future(look(root))]
            await eventually(lambda: len(service.calls) == limits.LOOKS_PER_USER + 3, "others are heard")
            service.hold_looks.set()
            assert len(await asyncio.gather(*waiting)) == limits.LOOKS_PER_USER + 2
            await look(user)
            await user.close()
            await other.close()

    run_async(test())


def test_root_may_look_as_often_as_it_likes(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        service.hold_looks = asyncio.Event()
        async with on_bus(private.address, service) as (_, root):
            waiting = [asyncio.ensure_future(look(root)) for _ in range(limits.LOOKS_PER_USER + 1)]
            await eventually(lambda: len(service.calls) == len(waiting), "all are in work")
            service.hold_looks.set()
            await asyncio.gather(*waiting)

    run_async(test())


@pytest.mark.parametrize("member", ["Enable", "Insert"])
def test_a_method_that_the_table_does_not_name_is_refused_even_to_root(private: PrivateBus, member: str) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (daemon, root):
            table = {name: action for name, action in TABLE.items() if not name.endswith(member)}
            daemon.gate = Bouncer(daemon, service.record, table).admit
            signature = "sa{sv}" if member == "Insert" else "a{sv}"
            body = ["card:x", {}] if member == "Insert" else [{}]
            with pytest.raises(DBusError) as caught:
                await call(root, PATH, DOMAIN, member, signature, *body)
            assert caught.value.type == NOT_AUTHORIZED
            assert caught.value.text == f"Nobody may call {DOMAIN}.{member}."
            assert service.calls == []

    run_async(test())


def test_the_session_instance_serves_its_own_user_only(private: PrivateBus) -> None:
    async def test() -> None:
        async with on_bus(private.address, FakeService().fill(), BusKind.SESSION) as (_, own):
            await insert(own)
            assert os.getuid() != NOBODY
            other = await connect_as(private.address, NOBODY)
            for member, signature, body in (
                ("Insert", "sa{sv}", ["card:x", {}]),
                ("Check", "a{sv}", [{}]),
            ):
                with pytest.raises(DBusError) as caught:
                    await call(other, PATH, DOMAIN, member, signature, *body)
                assert caught.value.type == NOT_AUTHORIZED
                assert caught.value.text == "This virtcardd serves its own user only."
            await other.close()

    run_async(test())


def test_a_call_that_wants_no_reply_is_checked_too(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            user = await connect_as(private.address, NOBODY)
            for peer in (user, root):
                await peer.ask_bus("GetId")
                await peer.send(
                    Message(BUS_NAME, PATH, DOMAIN, "Eject", flags=MessageFlag.NO_REPLY_EXPECTED,
                            signature="a{sv}", body=[{}])
                )  # fmt: skip
            await eventually(lambda: service.calls, "root's call is done")
            await call(user, ROOT_PATH, MANAGER, "FindDomain", "s", "win11")
            assert [each[0] for each in service.calls] == ["eject", "find_domain"]
            await user.close()

    run_async(test())


def test_who_was_admitted_and_who_was_not_is_on_record(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            await insert(root)
            user = await connect_as(private.address, NOBODY)
            await refusal(user)
            await user.close()
        admitted, turned_away = service.records
        assert admitted == Record(
            Event.ADMITTED,
            f"root may call Insert for win11 with card:piv ({ACTION_INSERT}).",
            WIN11,
            "win11",
            "card:piv",
            user="root",
        )
        assert (turned_away.event, turned_away.uuid, turned_away.user) == (Event.TURNED_AWAY, WIN11, "nobody")
        assert turned_away.sentence == f"nobody may not call Insert for win11 with card:piv ({ACTION_INSERT})."
        assert turned_away.reason == "Only root may do that while polkit is not there."

    run_async(test())


def test_a_call_to_a_software_card_is_on_record_with_the_card(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service):
            user = await connect_as(private.address, NOBODY)
            with pytest.raises(DBusError):
                await call(user, ROOT_PATH, MANAGER, "CreateCard", "sa{sv}", "jane", {})
            await user.close()
        [record] = service.records
        assert record.source == "card:jane"
        assert record.sentence == f"nobody may not call CreateCard with card:jane ({ACTION_MANAGE_CARDS})."

    run_async(test())


def test_looking_is_not_put_on_record(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            await call(root, PATH, DOMAIN, "Check", "a{sv}", {})
            await call(root, ROOT_PATH, MANAGER, "FindDomain", "s", "win11")
            await call(root, ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")
        assert service.records == []

    run_async(test())


def test_who_is_turned_away_again_and_again_does_not_fill_the_journal(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service):
            user = await connect_as(private.address, NOBODY)
            for _ in range(20):
                await refusal(user)
            await user.close()
        assert len(service.records) == 1

    run_async(test())


def test_another_user_of_the_session_bus_is_on_record(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service, BusKind.SESSION):
            other = await connect_as(private.address, NOBODY)
            await refusal(other)
            await other.close()
        assert [(record.event, record.user) for record in service.records] == [(Event.TURNED_AWAY, "nobody")]

    run_async(test())
