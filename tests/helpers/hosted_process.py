"""The whole of virtcardd in a process of its own, on libvirt's test driver, with a line to that libvirt.

A node of `test:///FILE` belongs to one connection, so nobody else can start its machines. `python hosted_process.py
HOME` serves the session bus with the node HOME/node.xml and takes one JSON request a line, which `helpers.hosted`
sends; the answers come as they are ready.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import libvirt

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

from helpers.memory_pcsc import MemoryPcsc  # noqa: E402 (the path comes first)
from virtcard.card import reader  # noqa: E402
from virtcard.daemon import prepare_process  # noqa: E402
from virtcard.daemon.run import Daemon  # noqa: E402
from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle  # noqa: E402
from virtcard.domain.libvirt import Hypervisor  # noqa: E402
from virtcard.service.api import Caller, InsertOptions  # noqa: E402
from virtcard.settings import settings  # noqa: E402

OWNER = Caller("root", is_owner=True)


class Host:
    """The daemon, and what is asked of it."""

    def __init__(self, home: Path, pcsc: MemoryPcsc) -> None:
        self.daemon = Daemon(settings(session=True, connect=f"test://{home}/node.xml", socket_dir=None))
        self._pcsc = pcsc
        self._began = perf_counter()
        self._events: dict[UUID, float] = {}
        real = self.daemon.link._from_thread

        def hear(event: HypervisorEvent) -> None:
            if event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STARTED and event.uuid:
                self._events[event.uuid] = perf_counter()
            real(event)

        self.daemon.link._from_thread = hear  # type: ignore[method-assign]

    async def first_pass(self) -> float:
        """Seconds from the making of the daemon to the end of its first pass."""
        await self.daemon._first_pass.wait()
        return perf_counter() - self._began

    async def full_pass(self) -> float:
        """Seconds of one more pass over everything."""
        begin = perf_counter()
        await self.daemon.service.full_pass()
        return perf_counter() - begin

    async def start(self, name: str) -> None:
        """Another user of this libvirt starts the machine."""
        await self._act(name, lambda domain: domain.create())

    async def stop(self, name: str) -> None:
        """Another user pulls its plug."""
        await self._act(name, lambda domain: domain.destroy())

    async def started(self, name: str) -> float:
        """When libvirt's event of its last start was heard, by the clock of all processes."""
        return self._events[await self.daemon.service.find_domain(name)]

    async def insert(self, name: str, source: str) -> None:
        """VirtcardService.insert."""
        await self.daemon.service.insert(await self.daemon.service.find_domain(name), source, OWNER, InsertOptions())

    async def eject(self, name: str) -> None:
        """VirtcardService.eject."""
        await self.daemon.service.eject(await self.daemon.service.find_domain(name), InsertOptions())

    async def plug(self, reader: int) -> None:
        """A host reader with a card is plugged in."""
        self._pcsc.plug(f"Soak Reader {reader:02} 00")

    async def unplug(self, reader: int) -> None:
        """It is pulled out."""
        self._pcsc.unplug(f"Soak Reader {reader:02} 00")

    async def handles(self) -> int:
        """How many cards in readers are held."""
        return len(self._pcsc.handles)

    async def _act(self, name: str, act: Callable[[libvirt.virDomain], object]) -> None:
        def on_worker(hypervisor: Hypervisor) -> None:
            act(hypervisor._open_connection().lookupByName(name))

        await self.daemon.link.call(on_worker)


async def _serve(home: Path, pcsc: MemoryPcsc) -> None:
    host, stop = Host(home, pcsc), asyncio.Event()
    running = asyncio.create_task(host.daemon.run(stop))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    answers: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        task = asyncio.create_task(_answer(host, json.loads(line)))
        answers.add(task)
        task.add_done_callback(answers.discard)
    stop.set()
    await running


async def _answer(host: Host, request: dict[str, Any]) -> None:
    number = request.pop("number")
    try:
        answer = {"value": await getattr(host, request.pop("do"))(**request)}
    except Exception as error:  # noqa: BLE001 (it is told to whoever asked)
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"number": number, **answer}), flush=True)


if __name__ == "__main__":
    prepare_process()
    world = MemoryPcsc()
    reader.scard = world  # type: ignore[attr-defined]
    asyncio.run(_serve(Path(sys.argv[1]), world))
