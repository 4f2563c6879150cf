"""The connection itself under load, at its beginning and at its end; each mend beside its fault."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise

import pytest
from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageFlag
from dbus_next.errors import AuthError
from dbus_next.message import Message

from helpers.bus import PrivateBus, eventually, private_bus, run_async
from helpers.exported import INTERFACE, PATH, Sample
from helpers.peers import ask, mended, stock
from virtcard import limits
from virtcard.bus.address import BusKind, bus_address
from virtcard.bus.connection import Bus
from virtcard.errors import Disconnected

BURST = 3_000
BODY = "x" * 5_000


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


@pytest.mark.parametrize(("unmended", "is_open"), [(False, False), (True, True)])
def test_a_closed_bus_keeps_no_file_descriptor(private: PrivateBus, unmended: bool, is_open: bool) -> None:
    async def test() -> None:
        bus = await (stock if unmended else mended)(private)
        bus.disconnect()
        with suppress(EOFError):
            await bus.wait_for_disconnect()
        assert (bus._sock.fileno() >= 0) == is_open

    run_async(test())


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


@pytest.mark.parametrize("missing", ["typing.no_type_check_decorator", "asyncio.iscoroutinefunction"])
def test_dbus_next_imports_without_names_that_newer_pythons_lack(missing: str) -> None:
    module, name = missing.split(".")
    remove = f"import {module}; del {module}.{name};"
    importing = "import dbus_next.service; dbus_next.service.asyncio.iscoroutinefunction(print)"
    program = [sys.executable, "-c"]
    assert subprocess.run([*program, f"{remove}{importing}"], capture_output=True, check=False).returncode == 1
    subprocess.run([*program, f"{remove}import virtcard.bus.export;{importing}"], check=True)
