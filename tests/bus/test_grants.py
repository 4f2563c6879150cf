"""Grants over D-Bus: everybody may look, and who gave one takes it back."""

from __future__ import annotations

import json
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dbus_next.errors import DBusError

from helpers.bus import NOBODY, OTHER, PrivateBus, Serving, call, connect_as, on_bus, run_async
from helpers.fake_service import WIN11, FakeService
from helpers.polkit import mock_polkit, tell_mock
from virtcard.bus.connection import Bus
from virtcard.bus.values import plain
from virtcard.cli.run import run
from virtcard.cli.shapes import Grant
from virtcard.names import ACTION_POLICY, MANAGER, ROOT_PATH
from virtcard.policy.model import Action, AskFor, Rule
from virtcard.service.grants import Grants
from virtcard.service.question import Question

QUESTION = Question(WIN11, "win11", "reader:Yubico", AskFor.INSERT, (), 0, 1.0, b"\x3b", Rule(Action.ASK))

Capture = pytest.CaptureFixture[str]


@asynccontextmanager
async def scene(private: PrivateBus, directory: Path) -> AsyncIterator[tuple[Bus, str]]:
    """A daemon with a grant of user nobody: root's connection, and the grant's id."""
    service = FakeService().fill()
    service.grants = Grants(directory / "policy.d")
    grant = service.grants.write(QUESTION, NOBODY, pwd.getpwuid(NOBODY).pw_name)
    async with on_bus(private.address, service) as (_, root):
        yield root, grant.id


async def revoke(peer: Bus, number: str) -> str:
    """The name of the error, or "" when it is revoked."""
    try:
        await call(peer, ROOT_PATH, MANAGER, "RevokeGrant", "sa{sv}", number, {})
    except DBusError as error:
        return str(error.type).rpartition(".")[2]
    return ""


def test_everybody_may_look(private: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, tmp_path) as (_, number):
            other = await connect_as(private.address, OTHER)
            (grants,) = plain(await call(other, ROOT_PATH, MANAGER, "ListGrants", "a{sv}", {}))
            (grant,) = grants
            assert grant.pop("when") > 1_700_000_000_000_000
            assert grant == {
                "id": number,
                "user": "nobody",
                "uid": NOBODY,
                "uuid": str(WIN11),
                "domain": "win11",
                "source": "reader:Yubico",
                "atr": "3B",
                "operations": ["insert"],
            }

    run_async(test())


def test_who_gave_it_may_take_it_back_without_polkit_and_others_may_not(private: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        async with scene(private, tmp_path) as (_, number):
            assert await revoke(await connect_as(private.address, OTHER), number) == "NotAuthorized"
            owner = await connect_as(private.address, NOBODY)
            assert await revoke(owner, number) == ""
            assert await revoke(owner, number) == "NoSuchGrant"

    run_async(test())


def test_an_administrator_may_take_back_anybodys(private: PrivateBus, tmp_path: Path) -> None:
    async def test() -> None:
        with mock_polkit(private.address):
            async with scene(private, tmp_path) as (root, number):
                await tell_mock(root, "SetAllowed", "as", [ACTION_POLICY])
                assert await revoke(await connect_as(private.address, OTHER), number) == ""

    run_async(test())


def test_the_command_lists_and_revokes(
    private: PrivateBus, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", private.address)
    service = FakeService().fill()
    service.grants = Grants(tmp_path / "policy.d")
    with Serving(private.address, service):
        assert run(["grants"]) == 0
        assert capsys.readouterr().out == "Id  Domain  Card  For  User  Since\n"
        number = service.grants.write(QUESTION, NOBODY, pwd.getpwuid(NOBODY).pw_name).id
        assert run(["grants", "--json"]) == 0
        (shown,) = json.loads(capsys.readouterr().out)
        assert set(shown) == set(Grant.__annotations__)
        assert run(["grants"]) == 0
        line = capsys.readouterr().out.splitlines()[1]
        assert line.startswith(f"{number}  win11   reader:Yubico  insert  nobody  20")
        assert run(["grants", "revoke", number]) == 0
        assert capsys.readouterr().out == f"Grant {number} is taken back.\n"
        assert run(["grants", "revoke", number]) == 4
        assert "hint: List them: virtcard grants" in capsys.readouterr().err
