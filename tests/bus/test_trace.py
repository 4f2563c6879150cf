"""Domain.Trace on a private bus: for whom the socket is made, and who gets none."""

from __future__ import annotations

import os
import pwd

import pytest
from dbus_next.errors import DBusError
from dbus_next.signature import Variant

from helpers.bus import NOBODY, PrivateBus, call, connect_as, on_bus, run_async
from helpers.fake_service import WIN11, FakeService
from helpers.polkit import mock_polkit, tell_mock
from virtcard.bus.address import BusKind
from virtcard.errors import DomainStateError
from virtcard.names import ACTION_TRACE, DOMAIN, domain_path
from virtcard.service.record import Event

PATH = domain_path(WIN11)
SOCKET = "/run/virtcardd/once-x"


def test_root_gets_a_socket_for_root(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            assert await call(root, PATH, DOMAIN, "Trace", "a{sv}", {}) == [SOCKET]
        assert service.calls == [("trace", WIN11, 0, "root", None)]

    run_async(test())


def test_whom_polkit_lets_trace_gets_a_socket_of_their_own(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        with mock_polkit(private.address):
            async with on_bus(private.address, service) as (_, root):
                await tell_mock(root, "SetAllowed", "as", [ACTION_TRACE])
                user = await connect_as(private.address, NOBODY)
                assert await call(user, PATH, DOMAIN, "Trace", "a{sv}", {}) == [SOCKET]
                await user.close()
        assert service.calls == [("trace", WIN11, NOBODY, "nobody", None)]

    run_async(test())


def test_anybody_else_gets_none_and_is_on_record(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service):
            user = await connect_as(private.address, NOBODY)
            with pytest.raises(DBusError) as caught:
                await call(user, PATH, DOMAIN, "Trace", "a{sv}", {})
            await user.close()
        assert caught.value.type == "org.virtcard1.Error.NotAuthorized"
        assert service.calls == []
        assert [(record.event, record.user, record.uuid) for record in service.records] == [
            (Event.TURNED_AWAY, "nobody", WIN11)
        ]

    run_async(test())


def test_on_the_session_bus_it_is_the_users_own_affair(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service, BusKind.SESSION) as (_, own):
            assert await call(own, PATH, DOMAIN, "Trace", "a{sv}", {}) == [SOCKET]
        me = pwd.getpwuid(os.getuid())
        assert service.calls == [("trace", WIN11, me.pw_uid, me.pw_name, None)]

    run_async(test())


def test_an_option_that_is_not_there_is_refused(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        async with on_bus(private.address, service) as (_, root):
            with pytest.raises(DBusError) as caught:
                await call(root, PATH, DOMAIN, "Trace", "a{sv}", {"file": Variant("s", "/x")})
        assert caught.value.type == "org.virtcard1.Error.InvalidArgument"
        assert service.calls == []

    run_async(test())


def test_a_machine_without_a_bridge_is_told_by_its_error(private: PrivateBus) -> None:
    async def test() -> None:
        service = FakeService().fill()
        service.failure = DomainStateError("win11 has no bridge that could be traced.", hint="Start it.")
        async with on_bus(private.address, service) as (_, root):
            with pytest.raises(DBusError) as caught:
                await call(root, PATH, DOMAIN, "Trace", "a{sv}", {})
        assert caught.value.type == "org.virtcard1.Error.DomainState"

    run_async(test())
