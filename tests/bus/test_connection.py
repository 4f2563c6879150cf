"""The mends of dbus-next 0.2.3, each beside the fault that it mends."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from dbus_next._private.marshaller import Marshaller
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageFlag, MessageType, RequestNameReply
from dbus_next.errors import AuthError, DBusError, InvalidMessageError
from dbus_next.message import Message
from dbus_next.service import ServiceInterface
from dbus_next.signature import SignatureTree, Variant

from helpers.bus import PrivateBus, eventually, private_bus, run_async
from helpers.exported import INTERFACE, PATH, ROOT, Sample
from virtcard import limits
from virtcard.bus.address import BusKind, bus_address
from virtcard.bus.connection import Bus
from virtcard.bus.standard import OBJECT_MANAGER, PEER
from virtcard.bus.stream import SIGNATURES_MAX, WholeMessage
from virtcard.errors import Busy, Disconnected, TimedOut

BURST = 3_000
BODY = "x" * 5_000


@pytest.fixture
def private() -> Iterator[PrivateBus]:
    with private_bus() as bus:
        yield bus


async def stock(private: PrivateBus) -> MessageBus:
    return await MessageBus(bus_address=private.address).connect()


async def mended(private: PrivateBus) -> Bus:
    bus = await Bus.open(BusKind.SESSION, address=private.address)

    async def admit(*_: Any) -> None:
        return None

    bus.gate = admit
    bus.root = ROOT
    return bus


async def ask(bus: Bus, other: MessageBus, member: str, interface: str = INTERFACE, path: str = PATH) -> list[Any]:
    return await bus.ask(str(other.unique_name), path, interface, member, timeout=10.0)


async def error_of(bus: Bus, other: MessageBus, member: str, **where: str) -> DBusError:
    with pytest.raises(DBusError) as caught:
        await ask(bus, other, member, **where)
    return caught.value


def burst(bus: MessageBus) -> None:
    for number in range(BURST):
        bus.send(Message.new_signal(PATH, INTERFACE, "Burst", "us", [number, BODY]))


def test_burst_of_3000_signals_of_5_kb_loses_nothing(private: PrivateBus) -> None:
    async def test() -> None:
        sender, receiver = await mended(private), await mended(private)
        got: list[int] = []

        def note(message: Message) -> None:
            if message.member == "Burst":
                got.append(message.body[0])

        receiver.add_message_handler(note)
        await receiver.ask_bus("AddMatch", "s", [f"type='signal',interface='{INTERFACE}'"])
        burst(sender)
        await eventually(lambda: len(got) == BURST, "all signals arrive", 30)
        assert got == list(range(BURST))
        assert sender.connected
        await sender.close()
        await receiver.close()

    run_async(test())


def test_burst_ends_an_unmended_connection(private: PrivateBus) -> None:
    async def test() -> None:
        sender = await stock(private)
        burst(sender)
        with pytest.raises(BlockingIOError):
            await sender.wait_for_disconnect()

    run_async(test())


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


@pytest.mark.parametrize("missing", ["typing.no_type_check_decorator", "asyncio.iscoroutinefunction"])
def test_dbus_next_imports_without_names_that_newer_pythons_lack(missing: str) -> None:
    module, name = missing.split(".")
    remove = f"import {module}; del {module}.{name};"
    importing = "import dbus_next.service; dbus_next.service.asyncio.iscoroutinefunction(print)"
    program = [sys.executable, "-c"]
    assert subprocess.run([*program, f"{remove}{importing}"], capture_output=True, check=False).returncode == 1
    subprocess.run([*program, f"{remove}import virtcard.bus.export;{importing}"], check=True)


async def _waits_for_nothing() -> None:
    await asyncio.get_running_loop().create_future()


def _waiting() -> int:
    return sum("_waits_for_nothing" in repr(task) for task in asyncio.all_tasks())


def test_a_task_that_only_we_know_is_not_collected(private: PrivateBus) -> None:
    async def test() -> None:
        bus = await mended(private)
        bus.spawn(_waits_for_nothing())
        await asyncio.sleep(0)
        gc.collect()
        assert _waiting() == 1
        await bus.close()
        await eventually(lambda: _waiting() == 0, "closing ends it")

    run_async(test())


def test_a_task_that_nobody_knows_is_collected() -> None:
    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        asyncio.ensure_future(_waits_for_nothing())  # noqa: RUF006
        await asyncio.sleep(0)
        gc.collect()
        assert _waiting() == 0

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


@pytest.mark.parametrize(("unmended", "is_open"), [(False, False), (True, True)])
def test_a_closed_bus_keeps_no_file_descriptor(private: PrivateBus, unmended: bool, is_open: bool) -> None:
    async def test() -> None:
        bus = await (stock if unmended else mended)(private)
        bus.disconnect()
        with suppress(EOFError):
            await bus.wait_for_disconnect()
        assert (bus._sock.fileno() >= 0) == is_open

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


def message_with_unknown_field() -> bytes:
    """A call with a header field of no known specification, which receivers must ignore (dbus-daemon 1.14 drops it)."""
    fields = [[1, Variant("o", PATH)], [3, Variant("s", "Odd")], [200, Variant("s", "unknown")]]
    header = Marshaller("yyyyuua(yv)", [ord("l"), MessageType.METHOD_CALL.value, 0, 1, 0, 1, fields])
    header.marshall()
    header.align(8)
    return bytes(header.buffer)


def test_a_message_with_an_unknown_field_costs_that_message_only() -> None:
    call = Message("a.b", PATH, INTERFACE, "Good", serial=2)
    stream = BytesIO(message_with_unknown_field() + call._marshall())
    first, second = WholeMessage(stream), WholeMessage(stream)
    assert first.fetch()
    assert first.parse() is None
    assert second.fetch()
    good = second.parse()
    assert good is not None
    assert good.member == "Good"


def test_a_message_with_an_unknown_field_raises_in_the_reader_when_unmended() -> None:
    with pytest.raises(ValueError, match="200 is not a valid HeaderField"):
        Unmarshaller(BytesIO(message_with_unknown_field())).unmarshall()


@pytest.mark.parametrize("header", [b"x" * 16, b"l\1\0\1" + b"\xff" * 12, b"B\1\0\1" + b"\xff" * 12])
def test_a_stream_without_message_boundaries_is_given_up(header: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        WholeMessage(BytesIO(header)).fetch()


def test_signatures_of_peers_are_not_kept_for_ever(private: PrivateBus) -> None:
    async def test() -> None:
        for number in range(2 * SIGNATURES_MAX):
            SignatureTree._get("s" + "".join("iu"[number >> bit & 1] for bit in range(12)))
        daemon, peer = await mended(private), await mended(private)
        daemon.export(PATH, Sample())
        assert await ask(peer, daemon, "Sender") == [peer.unique_name]
        assert len(SignatureTree._cache) <= SIGNATURES_MAX

    run_async(test())


def test_a_message_may_come_byte_by_byte() -> None:
    call = Message("a.b", "/", "c.d", "E", signature="a{sv}s", body=[{}, "text"], serial=7)

    class Dripping:
        def __init__(self) -> None:
            self.rest = bytes(call._marshall())
            self.turn = False

        def read(self, _: int) -> bytes | None:
            self.turn = not self.turn
            if not self.turn:
                return None
            byte, self.rest = self.rest[:1], self.rest[1:]
            return byte

    incoming = WholeMessage(Dripping())
    for _ in range(10_000):
        if incoming.fetch():
            break
    message = incoming.parse()
    assert message is not None
    assert (message.member, message.body, message.serial) == ("E", [{}, "text"], 7)


def test_a_flood_leaves_turns_for_others(private: PrivateBus) -> None:
    async def test() -> None:
        daemon, peer = await mended(private), await mended(private)
        turns: list[int] = []
        got = 0

        def note(message: Message) -> bool:
            nonlocal got
            got += message.member == "Flood"
            return message.member == "Flood"

        daemon.add_message_handler(note)
        daemon.export(PATH, Sample())
        for _ in range(1_000):
            peer.send(Message(str(daemon.unique_name), PATH, INTERFACE, "Flood", flags=MessageFlag.NO_REPLY_EXPECTED))
        while got < 1_000:
            turns.append(got)
            await asyncio.sleep(0)
        steps = [after - before for before, after in pairwise(turns)]
        assert max(steps) <= limits.BUS_MESSAGES_PER_TURN

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


def test_the_end_of_the_bus_ends_calls_and_waiters_without_raising(private: PrivateBus) -> None:
    async def test() -> None:
        peer, silent = await mended(private), await stock(private)
        silent.add_message_handler(lambda message: message.member == "Silence")
        pending = asyncio.ensure_future(ask(peer, silent, "Silence"))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(private.stop)
        await peer.wait_closed()
        with pytest.raises(Disconnected):
            await pending
        with pytest.raises(Disconnected):
            await ask(peer, silent, "Silence")
        await peer.send(Message.new_signal(PATH, INTERFACE, "Late"))
        await peer.close()

    run_async(test())


def test_the_second_address_is_tried(private: PrivateBus) -> None:
    async def test() -> None:
        addresses = f"unix:path=/nowhere/socket;{private.address}"
        assert (await Bus.open(BusKind.SESSION, address=addresses)).connected
        with pytest.raises(FileNotFoundError):
            MessageBus(bus_address=addresses)

    run_async(test())


@pytest.mark.parametrize("address", ["unix:path=/nowhere/socket", "launchd:env=X", "nonsense", "unix:tmpdir=/x"])
def test_a_bus_that_is_not_there_is_a_clear_error(address: str) -> None:
    async def test() -> None:
        with pytest.raises(Disconnected, match="The system bus cannot be reached"):
            await Bus.open(BusKind.SYSTEM, address=address)

    run_async(test())


def test_a_bus_that_hangs_up_in_the_handshake_is_a_clear_error(private: PrivateBus) -> None:
    async def test() -> None:
        path = private.directory / "rude"

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_unix_server(hang_up, path):
            with pytest.raises(Disconnected) as caught:
                await Bus.open(BusKind.SYSTEM, address=f"unix:path={path}")
        assert isinstance(caught.value.__cause__, AuthError | OSError)


def test_a_bus_that_hangs_up_before_hello_is_a_clear_error(private: PrivateBus) -> None:
    async def test() -> None:
        path = private.directory / "rude"

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n")
            writer.write(b"OK 1234\r\n")
            await reader.readuntil(b"BEGIN\r\n")
            writer.close()

        async with await asyncio.start_unix_server(greet, path):
            with pytest.raises(Disconnected):
                await Bus.open(BusKind.SYSTEM, address=f"unix:path={path}")

    run_async(test())


def test_a_bus_that_takes_no_more_connections_is_a_clear_error() -> None:
    async def test() -> None:
        limit = "<limit name='max_connections_per_user'>1</limit>"
        with private_bus(extra=limit) as private:
            first = await mended(private)
            with pytest.raises(Disconnected):
                await Bus.open(BusKind.SESSION, address=private.address)
            await first.close()

    run_async(test())


def test_what_was_sent_arrives_although_the_bus_is_closed_at_once(private: PrivateBus) -> None:
    async def test() -> None:
        sender, receiver = await mended(private), await mended(private)
        got: list[str] = []
        receiver.add_message_handler(lambda message: got.append(message.member))
        await receiver.ask_bus("AddMatch", "s", [f"type='signal',interface='{INTERFACE}'"])
        sender.send(Message.new_signal(PATH, INTERFACE, "Last"))
        await sender.close()
        await eventually(lambda: "Last" in got, "the signal arrives")

    run_async(test())


def test_the_user_bus_of_systemd_is_found_without_a_variable(
    private: PrivateBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private.directory))
    with pytest.raises(Disconnected, match="There is no session bus here"):
        bus_address(BusKind.SESSION)
    (private.directory / "bus").touch()
    assert bus_address(BusKind.SESSION) == f"unix:path={private.directory}/bus"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/other")
    assert bus_address(BusKind.SESSION) == "unix:path=/other"
