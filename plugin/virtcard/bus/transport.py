"""The connection below the calls, mended: connecting, reading, writing, ending.

The faults are those of dbus-next 0.2.3, which is pinned; each mend has a test in tests/bus that shows the fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.errors import AuthError, InvalidAddressError
from dbus_next.message import Message

from virtcard import limits
from virtcard.bus.stream import PatientSocket, WholeMessage


class Transport(MessageBus):
    """A MessageBus that stays connected under load, and leaves nothing behind when it ends."""

    def __init__(self, address: str) -> None:
        # no file descriptors: dbus-next leaks those that it receives, and PatientSocket cannot send any
        super().__init__(bus_address=address, negotiate_unix_fd=False)
        self._writer.sock = PatientSocket(self._sock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._resuming: asyncio.Handle | None = None
        self._last_sent: asyncio.Future[None] | None = None
        self._disconnect_future.add_done_callback(_look_at)

    async def close(self) -> None:
        """Send what waits, end our tasks, then end the connection."""
        if not self._disconnected and self._last_sent is not None and not self._last_sent.done():
            await asyncio.wait([self._last_sent], timeout=limits.BUS_FLUSH_PATIENCE)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        if not self._disconnected:
            self.disconnect()
        await self._ended.wait()

    async def wait_closed(self) -> None:
        """Wait for the end of the connection, whatever ends it; `wait_for_disconnect` raises."""
        await self._ended.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that is kept until it is done; asyncio alone keeps none."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send(self, message: Message) -> asyncio.Future[None]:  # type: ignore[override]
        """Queue a message; the future is done when it is written, or at once when the connection has ended."""
        if self._disconnected:
            # dbus-next would watch its old descriptor number, which may be somebody else's by now
            done: asyncio.Future[None] = self._loop.create_future()
            done.set_result(None)
            return done
        future: asyncio.Future[None] = super().send(message)
        future.add_done_callback(_look_at)
        self._last_sent = future
        return future

    def _setup_socket(self) -> None:
        """Connect to the first address that answers; dbus-next fails with the error of an earlier one."""
        failure: Exception = InvalidAddressError("there is no address")
        for address in self._bus_address:
            self._bus_address = [address]
            try:
                super()._setup_socket()
            except (OSError, InvalidAddressError) as error:
                failure = error
                self._close_socket()
            else:
                return
        raise failure

    def _close_socket(self) -> None:
        for end in ("_stream", "_sock"):
            if end in self.__dict__:
                with suppress(OSError):  # what it could not send is lost with it
                    self.__dict__[end].close()

    async def _auth_readline(self) -> str:
        """One line of the handshake; dbus-next spins for ever when the bus hangs up in it."""
        line = b""
        while not line.endswith(b"\r\n"):
            more = await self._loop.sock_recv(self._sock, 1)
            if not more or len(line) > limits.BUS_AUTH_LINE_MAX:
                raise AuthError("the bus hung up")
            line += more
        return line[:-2].decode()

    def _create_unmarshaller(self) -> WholeMessage:
        return WholeMessage(self._stream)

    def _message_reader(self) -> None:
        """Read what came, yet let others have a turn; dbus-next reads for as long as a peer sends."""
        if self._resuming is None and not self._disconnected:
            self._read_some()

    def _resume_reading(self) -> None:
        self._resuming = None
        self._message_reader()

    def _read_some(self) -> None:
        try:
            for _ in range(limits.BUS_MESSAGES_PER_TURN):
                if not self._unmarshaller.fetch():
                    return
                message = self._unmarshaller.parse()
                self._unmarshaller = self._create_unmarshaller()
                if message is not None:
                    self._on_message(message)
        except Exception as error:  # noqa: BLE001 - the stream is lost: no message boundary is known any more
            self._finalize(error)
        else:
            # what the buffered stream holds already would not wake us again
            self._resuming = self._loop.call_soon(self._resume_reading)

    def _finalize(self, err: Exception | None = None) -> None:
        """End of the connection: once, with the socket closed (dbus-next leaks it)."""
        if self._disconnected:
            return
        super()._finalize(err)
        self._close_socket()
        self._ended.set()


def _look_at(future: asyncio.Future[Any]) -> None:
    """Take the exception off a future that nobody waits for, or asyncio complains about it."""
    if not future.cancelled():
        future.exception()
