"""Who sits at the machine, as dbusmock's logind tells it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from dbus_next.message import Message
from dbus_next.signature import Variant

from helpers.bus import PrivateBus, eventually, run_async
from helpers.logind import MockLogind, mock_logind
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.logind import PATH, SESSION, watch_presence
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

    async def becomes(self, presence: Presence) -> None:
        await eventually(lambda: self.seat.presence == presence, f"{presence}, and not {self.seat.presence}")


@asynccontextmanager
async def scene(private: PrivateBus, kind: BusKind = BusKind.SYSTEM) -> AsyncIterator[Scene]:
    with mock_logind(private.address):
        bus = await Bus.open(kind, address=private.address)
        other = await Bus.open(BusKind.SYSTEM, address=private.address)
        try:
            logind = await MockLogind(other).ready()
            seat = Seat()
            async with watch_presence(bus, seat.take):
                yield Scene(seat, logind)
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
        async with watch_presence(bus, seat.take):
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
        async with watch_presence(bus, seat.take):
            assert seat.presence == Presence(Person(os.getuid(), ""))
        await bus.close()

    run_async(test())
