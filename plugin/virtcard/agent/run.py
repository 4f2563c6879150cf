"""The agent's process: its front, and the virtcardds that it answers to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from virtcard.agent.agent import Agent, NoLock
from virtcard.agent.notifications import Notifications
from virtcard.agent.terminal import Terminal
from virtcard.bus.client.desktop import Desktop
from virtcard.bus.client.registration import Registration
from virtcard.errors import Disconnected, Failed

_WAITING = "Waiting for what virtcardd asks. Ctrl-C ends.\n"


async def by_notifications(buses: Sequence[str]) -> None:
    """Ask by notifications until SIGTERM; Disconnected when the session bus ends or is not there."""
    async with Desktop.open() as desktop:
        if not await _serve(buses, Agent(Notifications(desktop), desktop), desktop.wait_closed()):
            raise Disconnected("The session bus went away.")


async def by_terminal(buses: Sequence[str]) -> None:
    """Ask on the terminal until SIGTERM; Failed when the terminal is gone or not there."""
    async with AsyncExitStack() as stack:
        terminal = stack.enter_context(Terminal.open())
        lock = await _lock(stack)
        terminal.write(_WAITING)
        if not await _serve(buses, Agent(terminal, lock), terminal.closed.wait()):
            raise Failed("The terminal was closed.")


async def _lock(stack: AsyncExitStack) -> Desktop | NoLock:
    """The desktop's, if the terminal is on one."""
    try:
        return await stack.enter_async_context(Desktop.open())
    except Disconnected:
        return NoLock()


async def _serve(buses: Sequence[str], agent: Agent, ended: Coroutine[Any, Any, Any]) -> bool:
    """Be registered on these buses; True at the end by a signal, False when `ended` came first. A mistake is raised."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(each) for each in (ended, stop.wait())]
    tasks += [asyncio.create_task(Registration(bus, agent).run()) for bus in buses]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return stop.is_set()
