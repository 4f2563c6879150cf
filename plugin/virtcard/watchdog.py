"""systemd's watchdog (sd_watchdog_enabled(3)): it is told that the daemon lives, and only while it does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping

from virtcard.bridge.timers import SHARED, Timers
from virtcard.notify import notify

log = logging.getLogger(__name__)


def period(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds between two pings, half of those that systemd waits; None when it does not wait for this process."""
    untrusted_microseconds = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    if not (untrusted_microseconds.isascii() and untrusted_microseconds.isdigit()):
        return None
    return int(untrusted_microseconds) / 2e6 or None


class Watchdog:
    """Pings while the event loop turns, the thread of the bridges' timeouts answers, and `lives` says so."""

    def __init__(self, seconds: float, lives: Callable[[], bool], timers: Timers = SHARED) -> None:
        self._seconds = seconds
        self._lives = lives
        self._timers = timers

    @classmethod
    def wanted(cls, lives: Callable[[], bool]) -> Watchdog | None:
        """The one that systemd asked this process for, if it did."""
        seconds = period(os.environ, os.getpid())
        return None if seconds is None else cls(seconds, lives)

    async def run(self) -> None:
        """Ping until cancelled. Where something hangs there is no ping, and systemd starts the daemon anew."""
        while True:
            await self._timers_answer()
            if self._lives():
                notify("WATCHDOG=1")
            else:
                log.error("the service does not come to the end of its work; systemd is not told that it lives")
            await asyncio.sleep(self._seconds)

    async def _timers_answer(self) -> None:
        loop, answered = asyncio.get_running_loop(), asyncio.Event()

        def answer() -> None:
            loop.call_soon_threadsafe(answered.set)

        self._timers.schedule(0, answer)
        await answered.wait()
