"""The control plane: passes over a thousand domains, one domain among many, and from a start to the card in the guest.

The passes run on libvirt's test driver in this process. The start is that of a real QEMU without a disk under a private
libvirtd, timed from libvirt's STARTED event to the moment when the bridge tells that the card is in.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch
from uuid import UUID

from helpers.bus import private_bus
from helpers.domains import XHCI, domain_uuid, domain_xml, qemu_xml, reader_xml
from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.services import FakeSource, only_source, service_lab, wish_metadata
from helpers.virtcardd import ALLOW_ALL
from virtcard.daemon.folders import make_socket_dir
from virtcard.daemon.run import Daemon
from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle
from virtcard.domain.uri import parse_uri
from virtcard.limits import INSERT_GAP
from virtcard.names import socket_name
from virtcard.policy.folders import Folders
from virtcard.service.views import BridgeState, BridgeView
from virtcard.settings import Settings

MANY, FEW = 1000, 10
PASSES = 5
RECONCILES = 300
STARTS = 12
DAEMON_STARTS = 3
OFF = "<test:runstate xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>5</test:runstate>"


def run() -> dict[str, float]:
    """Medians in the unit that the name ends with."""
    return asyncio.run(_passes()) | _processes() | asyncio.run(_starts())


def _domains(home: Path, count: int) -> list[str]:
    """Domains with a reader, off."""
    names = [f"vm{number}" for number in range(count)]
    sockets = {name: home / "virtcard" / socket_name(domain_uuid(name)) for name in names}
    return [domain_xml(name, devices=XHCI + reader_xml(sockets[name]), extra=OFF) for name in names]


async def _passes() -> dict[str, float]:
    first, following, alone, among = [], [], [], []
    vm = domain_uuid("vm5")
    with TemporaryDirectory(prefix="vc-") as a, TemporaryDirectory(prefix="vc-") as b:
        few_there, many_there = (Path(a), FEW), (Path(b), MANY)
        async with (
            service_lab(*_domains(*few_there), directory=few_there[0]) as few,
            service_lab(*_domains(*many_there), directory=many_there[0]) as many,
        ):
            for _ in range(PASSES):
                for view in many.service.registry.domains.values():
                    await many.service._reconciler.gone(view.uuid)
                first.append(await _timed(many.service.full_pass))
                following.append(await _timed(many.service.full_pass))
            for _ in range(RECONCILES):
                alone.append(await _timed(lambda: few.service._passes.reconcile(vm)))
                among.append(await _timed(lambda: many.service._passes.reconcile(vm)))
    return {
        "service_first_pass_1000_s": median(first),
        "service_next_pass_1000_s": median(following),
        "service_reconcile_among_10_ms": 1000 * median(alone),
        "service_reconcile_among_1000_ms": 1000 * median(among),
        "service_reconcile_ratio": median(among) / median(alone),
    }


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    begin = perf_counter()
    await work()
    return perf_counter() - begin


def _processes() -> dict[str, float]:
    """virtcardd as a process: until systemd would hear READY=1, and its memory then."""
    figures: dict[str, float] = {}
    for count in (FEW, MANY):
        measured = [_process(count) for _ in range(DAEMON_STARTS)]
        figures[f"virtcardd_ready_{count}_s"] = median(seconds for seconds, _ in measured)
        figures[f"virtcardd_memory_{count}_mib"] = median(memory for _, memory in measured)
    return figures


def _process(count: int) -> tuple[float, float]:
    with TemporaryDirectory(prefix="vc-") as directory, private_bus() as bus, _notified(Path(directory)) as ready:
        home = Path(directory)
        (home / "node.xml").write_text(f"<node>{''.join(_domains(home, count))}</node>")
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": directory,
            "NOTIFY_SOCKET": f"{directory}/notify",
            "PCSCLITE_CSOCK_NAME": f"{directory}/none",
        }
        command = [str(Path(sys.executable).parent / "virtcardd"), "--session", "--connect", f"test://{home}/node.xml"]
        begin = perf_counter()
        with Popen(command, env=environment, stderr=DEVNULL) as process:
            ready()
            seconds = perf_counter() - begin
            memory = _resident(process.pid)
            process.terminate()
        return seconds, memory


@contextmanager
def _notified(home: Path) -> Iterator[Callable[[], object]]:
    """A call that waits for READY=1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(home / "notify"))
        ours.settimeout(60)
        yield lambda: ours.recv(64)


def _resident(pid: int) -> float:
    """MiB in memory, less what is shared with other processes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024


async def _starts() -> dict[str, float]:
    with private_libvirtd() as libvirtd:
        async with _real_service(libvirtd) as (daemon, times):
            await daemon.service.find_domain("vm")
            taken = [await _start(daemon, times) for _ in range(STARTS)]
    return {
        "service_start_to_card_ms": 1000 * median(taken),
        "service_start_to_card_beyond_gap_ms": 1000 * (median(taken) - INSERT_GAP),
        "service_start_to_card_worst_ms": 1000 * max(taken),
    }


class Times:
    """When the machine started, as libvirt's thread heard of it, and when the card was in."""

    def __init__(self) -> None:
        self.started = 0.0
        self.inserted: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def heard(self, event: HypervisorEvent) -> None:
        """An event, on libvirt's thread."""
        if event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STARTED:
            self.started = perf_counter()

    def told(self, _key: tuple[UUID, int], _old: BridgeView | None, new: BridgeView | None) -> None:
        """A bridge changed."""
        if new is not None and new.state is BridgeState.INSERTED and not self.inserted.done():
            self.inserted.set_result(perf_counter())


def _policy(directory: Path) -> Folders:
    (directory / "policy").mkdir(exist_ok=True)
    (directory / "policy" / "50-bench.toml").write_text(ALLOW_ALL)
    return Folders(directory / "policy", directory / "nowhere", directory / "nowhere", frozenset())


@asynccontextmanager
async def _real_service(libvirtd: Libvirtd) -> AsyncIterator[tuple[Daemon, Times]]:
    source, times = FakeSource(), Times()
    uri = parse_uri(libvirtd.uri, libvirtd.environment())
    with only_source(source):
        daemon = Daemon(
            Settings(
                True,
                uri,
                libvirtd.directory / "virtcard",
                libvirtd.directory / "virtcardd",
                _policy(libvirtd.directory),
            )
        )
    await daemon.reload_policy()
    make_socket_dir(daemon.settings)
    devices = reader_xml(daemon.settings.socket_dir / socket_name(domain_uuid("vm")))
    xml = qemu_xml("vm", devices=devices).replace("<os>", f"<metadata>{wish_metadata('reader:one')}</metadata><os>")
    real = daemon.link._from_thread

    def hear(event: HypervisorEvent) -> None:
        times.heard(event)
        real(event)

    daemon.service.registry.bridges.listen(times.told)
    with patch.object(daemon.link, "_from_thread", hear):
        tasks = [asyncio.create_task(daemon.link.run()), asyncio.create_task(daemon.service.run())]
        try:
            await daemon._first_pass.wait()
            await daemon.link.call(lambda hypervisor: hypervisor.define(xml))
            yield daemon, times
        finally:
            await daemon._end(tasks)


async def _start(daemon: Daemon, times: Times) -> float:
    uuid = domain_uuid("vm")
    times.inserted = asyncio.get_running_loop().create_future()
    await daemon.link.call(lambda hypervisor: hypervisor._domain(uuid).create())
    async with asyncio.timeout(20):
        inserted = await times.inserted
    await daemon.link.call(lambda hypervisor: hypervisor._domain(uuid).destroy())
    while daemon.service.registry.bridges.get((uuid, 0)) is not None:
        await asyncio.sleep(0.01)
    return inserted - times.started
