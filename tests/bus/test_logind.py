"""Who sits at the machine, as dbusmock's logind tells it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from dbus_next.message import Message
from dbus_next.signature import Variant

from helpers.bus import PrivateBus, eventually, private_bus, run_async
from helpers.logind import MockLogind, mock_logind
from virtcard.bus import logind
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.logind import MANAGER, PATH, SESSION, Watcher, watch_logind
from virtcard.service.seat import Person, Presence, Seat

ALICE = Presence(Person(1000, "2"))
BOB = Presence(Person(1001, "5"))
LOCKED = Presence(Person(1000, "2"), locked=True)
SOMEBODY_HIDDEN = Presence(None, locked=True)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the daemon knows, and the logind that it asks."""

    seat: Seat
    logind: MockLogind
    sleeps: list[str]
    """One word for each that was heard of."""

    async def becomes(self, presence: Presence) -> None:
        await eventually(lambda: self.seat.presence == presence, f"{presence}, and not {self.seat.presence}")


@asynccontextmanager
async def scene(private: PrivateBus, kind: BusKind = BusKind.SYSTEM) -> AsyncIterator[Scene]:
    with mock_logind(private.address):
        bus = await Bus.open(kind, address=private.address)
        other = await Bus.open(BusKind.SYSTEM, address=private.address)
        try:
            logind = await MockLogind(other).ready()
            seat, sleeps = Seat(), list[str]()
            async with watch_logind(bus, Watcher(seat.take, lambda: sleeps.append("sleep"))):
                yield Scene(seat, logind, sleeps)
        finally:
            await other.close()
            await bus.close()


def test_it_is_the_user_of_the_active_session_at_the_seat(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            assert here.seat.presence == Presence(None)
            await here.logind.add_session("2", 1000)
            await here.becomes(ALICE)
            await here.logind.add_session("5", 1001)
            await here.becomes(BOB)
            await here.logind.show("2")
            await here.becomes(ALICE)

    run_async(test())


def test_a_locked_screen_is_seen_and_its_end_too(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.logind.add_session("2", 1000)
            await here.becomes(ALICE)
            await here.logind.lock("2", True)
            await here.becomes(LOCKED)
            await here.logind.lock("2", False)
            await here.becomes(ALICE)

    run_async(test())


def test_a_fault_of_ours_at_a_lock_does_not_end_the_watch(
    private: PrivateBus, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.logind.add_session("2", 1000)
            await here.becomes(ALICE)

            def broken() -> None:
                here.seat.unlisten(broken)
                raise ValueError("a bug")

            here.seat.listen(broken)
            await here.logind.lock("2", True)
            await here.becomes(LOCKED)
            await here.logind.lock("2", False)
            await here.becomes(ALICE)

    run_async(test())
    assert "a bug" in caplog.text


def test_a_greeter_and_a_terminal_without_login_are_as_good_as_locked(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.logind.add_session("2", 1000)
            await here.becomes(ALICE)
            await here.logind.add_session("c1", 120, kind="greeter")
            await here.becomes(SOMEBODY_HIDDEN)
            await here.logind.show("")
            await here.becomes(SOMEBODY_HIDDEN)
            await here.logind.show("2")
            await here.becomes(ALICE)

    run_async(test())


def test_without_logind_nobody_is_there(private: PrivateBus) -> None:
    async def test() -> None:
        seat = Seat()
        bus = await Bus.open(BusKind.SYSTEM, address=private.address)
        async with watch_logind(bus, Watcher(seat.take, lambda: None)):
            assert seat.presence == Presence(None)
            with mock_logind(private.address):
                await (await MockLogind(bus).ready()).add_session("2", 1000)
                await eventually(lambda: seat.presence == ALICE, "logind was found when it came")
            await eventually(lambda: seat.presence == Presence(None), "and missed when it went")
        await bus.close()

    run_async(test())


def test_a_forged_signal_changes_nothing(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.logind.add_session("2", 1000)
            await here.logind.lock("2", True)
            await here.becomes(LOCKED)
            body = [SESSION, {"LockedHint": Variant("b", False)}, []]
            forged = Message.new_signal(
                f"{PATH}/session/2", "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", body
            )
            await here.logind.bus.send(forged)
            await here.logind.add_session("5", 1001)
            await here.becomes(BOB)
            await here.logind.show("2")
            await here.becomes(LOCKED)

    run_async(test())


def test_the_host_that_goes_to_sleep_is_heard_of_and_its_waking_too(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.logind.sleep(True)
            await eventually(lambda: len(here.sleeps) == 1, "it goes to sleep")
            await here.logind.sleep(False)
            await eventually(lambda: len(here.sleeps) == 2, "it has woken up")

    run_async(test())


def test_nobody_but_logind_sends_the_host_to_sleep(private: PrivateBus) -> None:
    async def test() -> None:
        async with scene(private) as here:
            await here.logind.bus.send(Message.new_signal(PATH, MANAGER, "PrepareForSleep", "b", [True]))
            await here.logind.add_session("2", 1000)
            await here.becomes(ALICE)
            assert here.sleeps == []

    run_async(test())


@pytest.fixture
def system(private: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> PrivateBus:
    """The test's bus is the system bus too."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
    return private


def test_the_session_instance_asks_its_own_user(system: PrivateBus) -> None:
    async def test() -> None:
        me = os.getuid()
        async with scene(system, BusKind.SESSION) as here:
            assert here.seat.presence == Presence(Person(me, ""))
            await here.logind.add_session("2", me)
            await here.becomes(Presence(Person(me, "2")))
            await here.logind.lock("2", True)
            await here.becomes(Presence(Person(me, "2"), locked=True))
            await here.logind.lock("2", False)
            await here.logind.change("2", "Active", Variant("b", False))
            await here.becomes(Presence(Person(me, "2"), locked=True))

    run_async(test())


def test_the_session_instance_lives_without_a_system_bus(private: PrivateBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={private.directory}/none")

    async def test() -> None:
        seat = Seat()
        bus = await Bus.open(BusKind.SESSION, address=private.address)
        async with watch_logind(bus, Watcher(seat.take, lambda: None)):
            assert seat.presence == Presence(Person(os.getuid(), ""))
        await bus.close()

    run_async(test())


def test_the_session_instance_finds_a_system_bus_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was there goes away with its logind, and another one takes its place."""
    monkeypatch.setattr(logind, "SYSTEM_BUS_PAUSE", 0.05)
    me = os.getuid()

    async def test() -> None:
        seat, sleeps = Seat(), list[str]()
        with private_bus() as session:
            bus = await Bus.open(BusKind.SESSION, address=session.address)
            with private_bus() as first:
                monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", first.address)
                watching = watch_logind(bus, Watcher(seat.take, lambda: sleeps.append("sleep")))
                await watching.__aenter__()
            with private_bus() as second, mock_logind(second.address):
                monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", second.address)
                other = await Bus.open(BusKind.SYSTEM, address=second.address)
                mock = await MockLogind(other).ready()
                await mock.add_session("2", me)
                await mock.lock("2", True)
                locked = Presence(Person(me, "2"), locked=True)
                await eventually(lambda: seat.presence == locked, f"{locked}, and not {seat.presence}")
                await mock.sleep(True)
                await eventually(lambda: sleeps, "it hears of sleep")
                await other.close()
                await watching.__aexit__(None, None, None)
            await bus.close()

    run_async(test())
