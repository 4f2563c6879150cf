"""The process virtcardd under systemd's watchdog: it pings, and a part of it that hangs is the end of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers import hanging_virtcardd
from helpers.bus import private_bus
from helpers.notified import Notified, notified
from helpers.virtcardd import BIN

WATCHDOG = 2.0
"""Seconds that this systemd waits for a ping; there are two in that time."""
PING = "WATCHDOG=1"
START_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A daemon that was just started, and what its systemd hears."""

    process: subprocess.Popen[bytes]
    systemd: Notified
    log: Callable[[], str]

    def kill_as_systemd_does(self) -> int:
        """WatchdogSignal=SIGABRT; how the process ended."""
        self.process.send_signal(signal.SIGABRT)
        return self.process.wait(10)

    def silence(self, number: int) -> bool:
        """After this signal no ping comes for as long as systemd waits."""
        self.process.send_signal(number)
        self.systemd.next(0.2)
        self.systemd.drain()
        return self.systemd.next(WATCHDOG) is None


@pytest.fixture
def watched() -> Iterator[Watched]:
    with TemporaryDirectory(prefix="vc-") as name, private_bus() as bus, notified(Path(name)) as systemd:
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": name,
            "XDG_CONFIG_HOME": name,
            "XDG_DATA_HOME": name,
            "PCSCLITE_CSOCK_NAME": f"{name}/no-pcscd",
            "NOTIFY_SOCKET": str(systemd.path),
            "WATCHDOG_USEC": str(int(WATCHDOG * 1e6)),
        }
        command = [sys.executable, hanging_virtcardd.__file__, "--session", "--connect", "test:///default"]
        log = Path(name, "log")
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            systemd.wait("READY=1", START_PATIENCE)
            yield Watched(process, systemd, lambda: log.read_text(errors="replace"))
        finally:
            process.kill()
            process.wait(10)


def test_it_pings_in_time_from_the_start_to_the_end(watched: Watched) -> None:
    for _ in range(3):
        assert watched.systemd.next(WATCHDOG) == PING
    watched.process.terminate()
    watched.systemd.wait("STOPPING=1", 10)
    assert watched.process.wait(10) == 0


def test_an_event_loop_that_hangs_stops_the_pings_and_its_end_says_where(watched: Watched) -> None:
    assert watched.silence(signal.SIGUSR1)
    assert watched.kill_as_systemd_does() == -signal.SIGABRT
    assert 'hanging_virtcardd.py", line' in watched.log()
    assert "Thread 0x" in watched.log(), "the other threads are told too"


def test_a_thread_of_timeouts_that_hangs_stops_the_pings_although_the_loop_turns(watched: Watched) -> None:
    assert watched.silence(signal.SIGUSR2)
    watched.process.terminate()
    assert watched.process.wait(10) == 0, "the loop still answers"


def test_a_daemon_without_stderr_starts_all_the_same() -> None:
    with TemporaryDirectory(prefix="vc-") as name, private_bus() as bus, notified(Path(name)) as systemd:
        places = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
        environment = (
            os.environ
            | dict.fromkeys(places, name)
            | {
                "DBUS_SESSION_BUS_ADDRESS": bus.address,
                "PCSCLITE_CSOCK_NAME": f"{name}/no-pcscd",
                "NOTIFY_SOCKET": str(systemd.path),
            }
        )
        words = f"exec '{BIN / 'virtcardd'}' --session --connect test:///default 2>&-"
        process = subprocess.Popen(["sh", "-c", words], env=environment, stdin=subprocess.DEVNULL)
        try:
            systemd.wait("READY=1", START_PATIENCE)
        finally:
            process.terminate()
            code = process.wait(10)
    assert code == 0
