"""Private buses, peers with another uid, and a service in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from dbus_next.aio.message_bus import MessageBus
from dbus_next.auth import AuthExternal

from virtcard.bus.address import BusKind
from virtcard.bus.connection import Bus
from virtcard.bus.export import serve
from virtcard.names import BUS_NAME
from virtcard.service.api import Service

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534
OTHER = 1
"""Uids of users that every machine has (nobody, daemon): a bus refuses those that have no name."""

OPEN_POLICY = """
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
  </policy>
"""

SYSTEM_POLICY = """
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
"""
"""What /usr/share/dbus-1/system.conf allows: nothing may be owned or called unless a file says so."""


@dataclass(frozen=True, slots=True)
class PrivateBus:
    """A dbus-daemon of our own; `stop()` ends it early."""

    address: str
    directory: Path
    stop: Callable[[], None]


@contextlib.contextmanager
def private_bus(*, policy: str = OPEN_POLICY, extra: str = "") -> Iterator[PrivateBus]:
    """Run a dbus-daemon with this policy; every uid may reach its socket."""
    with TemporaryDirectory(prefix="virtcard-bus-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        config = directory / "bus.conf"
        config.write_text(
            "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' "
            "'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'><busconfig>"
            f"<listen>unix:path={directory}/socket</listen><auth>EXTERNAL</auth>{policy}{extra}</busconfig>"
        )
        daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert daemon.stdout is not None

        def stop() -> None:
            daemon.terminate()
            daemon.wait(10)

        try:
            yield PrivateBus(daemon.stdout.readline().strip(), directory, stop)
        finally:
            stop()
            daemon.stdout.close()


class _As(AuthExternal):
    def __init__(self, user: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._user = user

    def _authentication_start(self, negotiate_unix_fd: bool = False) -> str:
        return f"AUTH EXTERNAL {str(self._user).encode().hex()}"


async def connect_as(address: str, user: int) -> Bus:
    """A peer with another uid; needs root. The bus looks at the effective uid at the time of connect()."""
    os.seteuid(user)
    try:
        bus = Bus(address, kind=BusKind.SYSTEM)
    finally:
        os.seteuid(0)
    bus._auth = _As(user)  # type: ignore[has-type]
    await bus.connect()
    return ended_later(bus)


async def eventually(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait in the event loop until the condition holds; fail with `what`."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


async def call(bus: Bus, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
    """Call our daemon from a peer."""
    return await bus.ask(BUS_NAME, path, interface, member, signature, list(body), timeout=10.0)


class Serving:
    """A service on a bus, in a thread with its own event loop, for clients that block."""

    def __init__(self, address: str, service: Service, kind: BusKind = BusKind.SYSTEM) -> None:
        self._address = address
        self._service = service
        self._kind = kind
        self._ready: threading.Event = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._bus: Bus
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the service did not get on the bus"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bus, as a daemon that ends."""
        if self._thread.is_alive():
            self.run(lambda: self._bus.spawn(self._bus.close()))
            self._thread.join(10)

    def run(self, work: Callable[[], T]) -> T:
        """Call `work` in the service's thread, where the registry lives."""

        async def inside() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bus = await Bus.open(self._kind, address=self._address)
        await serve(self._bus, self._service)
        self._ready.set()
        await self._bus.wait_closed()


@contextlib.asynccontextmanager
async def on_bus(address: str, service: Service, kind: BusKind = BusKind.SYSTEM) -> AsyncIterator[tuple[Bus, Bus]]:
    """The service and a peer in the same event loop: `async with on_bus(...) as (daemon, peer)`."""
    daemon = await Bus.open(kind, address=address)
    await serve(daemon, service)
    peer = await Bus.open(kind, address=address)
    try:
        yield daemon, peer
    finally:
        await peer.close()
        await daemon.close()


_OPENED: list[MessageBus] = []

B = TypeVar("B", bound=MessageBus)


def ended_later(bus: B) -> B:
    """End this connection when the test of `run_async` is over, unmended ones too."""
    _OPENED.append(bus)
    return bus


def run_async(test: Awaitable[T]) -> T:
    """Run an async test to its end, at most a minute."""

    async def limited() -> T:
        try:
            async with asyncio.timeout(60):
                return await test
        finally:
            while _OPENED:
                _end(_OPENED.pop())

    try:
        return asyncio.run(limited())
    finally:
        # what a test dropped is collected now, and not inside whatever comes next
        gc.collect()


def _end(bus: MessageBus) -> None:
    bus._finalize()
    for end in (bus._stream, bus._sock):
        with contextlib.suppress(OSError):
            end.close()
