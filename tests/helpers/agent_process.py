"""`virtcard agent` as a process, between a daemon's bus and a desktop."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from helpers.bus import PrivateBus, eventually, on_bus
from helpers.fake_service import WIN11, FakeService
from helpers.virtcardd import BIN
from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.policy.model import AskFor
from virtcard.service.ask import Asker
from virtcard.service.decisions import Decisions
from virtcard.service.grants import Grants
from virtcard.service.question import Answer, Choice, Question
from virtcard.service.seat import Person, Presence, Seat

ME = Person(os.getuid(), "2")
QUESTION = Question(WIN11, "win11", "reader:Yubico", AskFor.INSERT, tuple(Choice)[:4], 600, 20.0)


@dataclass(frozen=True, slots=True)
class AskingDaemon:
    """What virtcardd is to an agent."""

    service: FakeService
    asker: Asker
    bus: Bus

    async def ask(self, **changes: object) -> Answer:
        """Ask as the daemon does."""
        return await self.asker.ask(replace(QUESTION, **changes))  # type: ignore[arg-type]

    async def has_agent(self) -> None:
        """Wait until one is registered."""
        await eventually(lambda: self.service.agents.of(ME.uid), "an agent is registered", 20.0)


@asynccontextmanager
async def asking_daemon(private: PrivateBus, kind: BusKind = BusKind.SYSTEM) -> AsyncIterator[AskingDaemon]:
    """One on this bus, where the person at the machine is whoever runs the test."""
    service = FakeService().fill()
    seat = Seat()
    seat.take(Presence(ME))
    with TemporaryDirectory() as directory:
        service.grants = Grants(Path(directory))
        async with on_bus(private.address, service, kind) as (bus, _):
            yield AskingDaemon(service, Asker(seat, service.agents, service.grants, Decisions(service.record)), bus)


def environment(system: PrivateBus, session: PrivateBus | None) -> dict[str, str]:
    """That of a login session."""
    address = session.address if session else ""
    return os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": system.address, "DBUS_SESSION_BUS_ADDRESS": address}


@contextlib.contextmanager
def agent_process(variables: Mapping[str, str], log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `virtcard agent`, by notifications."""
    with log.open("wb") as output:
        process = subprocess.Popen([BIN / "virtcard", "agent", *options], env=variables, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


class Screen:
    """A terminal, seen from the person's side. What is on it is `text`."""

    def __init__(self, descriptor: int) -> None:
        self._master = descriptor
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def type(self, keys: str) -> None:
        """The person types."""
        os.write(self._master, keys.encode())

    async def shows(self, text: str, times: int = 1) -> None:
        """Wait until it has been shown so many times."""
        await eventually(lambda: self.text.count(text) >= times, f"{text!r} is on the terminal, not {self.text!r}", 20)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(self._master, 4096):
                self.text += data.decode(errors="replace").replace("\r\n", "\n")


@contextlib.contextmanager
def terminal_process(variables: Mapping[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """Run `virtcard agent --terminal` on a terminal of its own."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", BIN / "virtcard", "agent", "--terminal", *options],
        env=variables, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    try:
        yield process, Screen(master)
    finally:
        process.terminate()
        process.wait(10)
        with contextlib.suppress(OSError):
            os.close(master)
