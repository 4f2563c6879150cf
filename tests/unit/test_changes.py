"""Looks at the host's files, which a dead network file system may hold up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from helpers.bus import eventually, run_async
from virtcard.domain.host import HostFiles
from virtcard.domain.render import Renderer
from virtcard.domain.setup import Mode, ReaderSetup
from virtcard.errors import TimedOut
from virtcard.service import changes
from virtcard.service.changes import Changes
from virtcard.service.link import Link

CERTIFICATES = ReaderSetup(Mode.HOST_CERTIFICATES, database="/net/nss")
FOUND = HostFiles(None)


class Host:
    """Its files, which nobody gets to see before `back`."""

    def __init__(self) -> None:
        self.looks: list[ReaderSetup] = []
        self.back = threading.Event()

    def look(self, setup: ReaderSetup, _host: object) -> HostFiles:
        self.looks.append(setup)
        assert self.back.wait(30)
        return FOUND


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host()
    monkeypatch.setattr(changes, "look", host.look)
    monkeypatch.setattr(changes, "LOOK_PATIENCE", 0.05)
    yield host
    host.back.set()


def made(directory: Path) -> Changes:
    return Changes.make(cast("Link", None), Renderer(), directory)


def test_files_that_cannot_be_seen_cost_one_thread_however_often_they_are_asked_for(host: Host, tmp_path: Path) -> None:
    """Everybody may ask, over D-Bus."""

    async def test() -> None:
        some = made(tmp_path)
        for _ in range(3):
            asked = [some._look(CERTIFICATES) for _ in range(4)]
            assert {type(each) for each in await asyncio.gather(*asked, return_exceptions=True)} == {TimedOut}
        assert host.looks == [CERTIFICATES]
        with pytest.raises(TimedOut):
            await some._look(ReaderSetup())
        assert host.looks == [CERTIFICATES, ReaderSetup()]

    run_async(test())


def test_files_that_can_be_seen_again_are_looked_at_anew(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        some = made(tmp_path)
        with pytest.raises(TimedOut):
            await some._look(CERTIFICATES)
        monkeypatch.setattr(changes, "LOOK_PATIENCE", 10)
        host.back.set()
        await eventually(some.looks[CERTIFICATES].done, "the look that hung has come to its end")
        for looks in (2, 3):
            assert await some._look(CERTIFICATES) == FOUND
            assert len(host.looks) == looks
        assert some.looks == {}

    run_async(test())
