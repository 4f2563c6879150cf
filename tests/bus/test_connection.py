"""Calls in and out; each mend of dbus-next 0.2.3 beside the fault that it mends."""

from __future__ import annotations

import asyncio

import pytest
from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageFlag, MessageType, RequestNameReply
from dbus_next.errors import DBusError
from dbus_next.message import Message
from dbus_next.service import ServiceInterface

from helpers.bus import PrivateBus, eventually, run_async
from helpers.exported import INTERFACE, PATH, ROOT, Sample
from helpers.peers import ask, error_of, mended, stock
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.standard import OBJECT_MANAGER, PEER
from virtcard.errors import Busy, TimedOut


async def object_manager_signals(bus: MessageBus, listener: Bus) -> list[tuple[str, str]]:
    paths: list[tuple[str, str]] = []

    def note(message: Message) -> None:
        if message.interface == OBJECT_MANAGER and message.message_type is MessageType.SIGNAL:
            paths.append((message.member, message.path))

    listener.add_message_handler(note)
    await listener.ask_bus("AddMatch", "s", [f"type='signal',interface='{OBJECT_MANAGER}'"])
    bus.export(PATH, Sample())
    bus.unexport(PATH)
    await eventually(lambda: len(paths) == 2, "both signals")
    return paths


def test_object_manager_signals_leave_from_the_root(private: PrivateBus) -> None:
    async def test() -> None:
        paths = await object_manager_signals(await mended(private), await mended(private))
        assert paths == [("InterfacesAdded", ROOT), ("InterfacesRemoved", ROOT)]

    run_async(test())


def test_object_manager_signals_leave_from_the_child_when_unmended(private: PrivateBus) -> None:
    async def test() -> None:
        paths = await object_manager_signals(await stock(private), await mended(private))
        assert paths == [("InterfacesAdded", PATH), ("InterfacesRemoved", PATH)]

    run_async(test())


@pytest.mark.parametrize("member", ["Fail", "FailLater", "WrongReturn", "NotText"])
def test_a_failing_method_tells_the_caller_nothing_of_ours(private: PrivateBus, member: str) -> None:
    async def test() -> None:
        daemon, peer = await mended(private), await mended(private)
        daemon.export(PATH, Sample())
        error = await error_of(peer, daemon, member)
        assert error.type == "org.virtcard1.Error.Internal"
        assert error.text == "Internal error; see the journal."
        assert await ask(peer, daemon, "Flags") == [0]

    run_async(test())


def test_a_failing_method_tells_everything_when_unmended(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await stock(private), await mended(private)
        daemon.export(PATH, Sample())
        error = await error_of(peer, daemon, "Fail")
        assert "secret" in error.text
        assert "exported.py" in error.text

    run_async(test())


def test_a_failing_property_tells_the_caller_nothing_of_ours(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await mended(private), await mended(private)
        daemon.export(PATH, Sample())
        with pytest.raises(DBusError) as caught:
            await peer.ask(
                str(daemon.unique_name), PATH, "org.freedesktop.DBus.Properties", "Get", "ss", [INTERFACE, "Broken"]
            )
        assert "secret" not in caught.value.text
        assert caught.value.type == "org.virtcard1.Error.Internal"

    run_async(test())


def test_a_method_knows_its_caller(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, one, two = await mended(private), await mended(private), await mended(private)
        daemon.export(PATH, Sample())
        names = await asyncio.gather(*(ask(peer, daemon, "Sender") for peer in (one, two, one)))
        assert names == [[one.unique_name], [two.unique_name], [one.unique_name]]
        flags = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
        assert await one.ask(str(daemon.unique_name), PATH, INTERFACE, "Flags", flags=flags) == [1]

    run_async(test())


def test_without_a_gate_nothing_may_be_called(private: PrivateBus) -> None:
    async def test() -> None:
        daemon = await Bus.open(BusKind.SESSION, address=private.address)
        daemon.export(PATH, Sample())
        error = await error_of(await mended(private), daemon, "Sender")
        assert error.type == "org.virtcard1.Error.NotAuthorized"

    run_async(test())


def test_a_call_that_nobody_answers_times_out_and_is_forgotten(private: PrivateBus) -> None:
    async def test() -> None:
        peer, silent = await mended(private), await stock(private)
        silent.add_message_handler(lambda message: message.member == "Silence")
        with pytest.raises(TimedOut):
            await peer.ask(str(silent.unique_name), PATH, INTERFACE, "Silence", timeout=0.1)
        assert peer._method_return_handlers == {}

    run_async(test())


def test_an_error_without_text_is_an_error(private: PrivateBus) -> None:
    async def test() -> None:
        peer, rude = await mended(private), await stock(private)

        def refuse(message: Message) -> Message | None:
            if message.member != "Refuse":
                return None
            return Message(message_type=MessageType.ERROR, error_name="a.b", reply_serial=message.serial,
                           destination=message.sender)  # fmt: skip

        rude.add_message_handler(refuse)
        error = await error_of(peer, rude, "Refuse")
        assert (error.type, error.text) == ("a.b", "")

    run_async(test())


def test_machine_id_is_answered_every_time(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await mended(private), await mended(private)
        daemon.export(PATH, Sample())
        first = await ask(peer, daemon, "GetMachineId", PEER)
        assert len(first[0]) == 32
        assert await ask(peer, daemon, "GetMachineId", PEER) == first

    run_async(test())


def test_machine_id_fails_the_second_time_when_unmended(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await stock(private), await mended(private)
        await ask(peer, daemon, "GetMachineId", PEER)
        error = await error_of(peer, daemon, "GetMachineId", interface=PEER)
        assert "ServiceError" in error.type

    run_async(test())


def test_only_the_root_manages_objects(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await mended(private), await mended(private)
        daemon.export(PATH, ServiceInterface("a.b"))
        error = await error_of(peer, daemon, "GetManagedObjects", interface=OBJECT_MANAGER)
        assert error.type == "org.freedesktop.DBus.Error.UnknownInterface"
        unmended = await stock(private)
        unmended.export(PATH, ServiceInterface("a.b"))
        assert await ask(peer, unmended, "GetManagedObjects", OBJECT_MANAGER) == [{}]

    run_async(test())


def test_a_path_without_an_object_is_an_unknown_object(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await mended(private), await mended(private)
        error = await error_of(peer, daemon, "Sender", path="/no/object")
        assert error.type == "org.freedesktop.DBus.Error.UnknownObject"

    run_async(test())


@pytest.mark.parametrize(("unmended", "children"), [(False, []), (True, ["0"])])
def test_reader_1_has_no_child_when_there_is_a_reader_10(
    private: PrivateBus, unmended: bool, children: list[str]
) -> None:
    async def test() -> None:
        daemon = await (stock if unmended else mended)(private)
        for path in ("/reader/1", "/reader/10"):
            daemon.export(path, ServiceInterface("a.b"))
        assert [node.name for node in daemon._introspect_export_path("/reader/1").nodes] == children
        assert {node.name for node in daemon._introspect_export_path("/").nodes} == {"reader"}

    run_async(test())


def test_a_name_that_is_taken_is_a_clear_error(private: PrivateBus) -> None:
    async def test() -> None:
        first, second = await mended(private), await mended(private)
        await first.claim("org.virtcard1")
        await first.claim("org.virtcard1")
        with pytest.raises(Busy, match="Another virtcardd owns"):
            await second.claim("org.virtcard1")
        reply = await (await stock(private)).request_name("org.virtcard1")
        assert reply is RequestNameReply.IN_QUEUE

    run_async(test())
