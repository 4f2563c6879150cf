"""systemd's watchdog hears of a daemon that lives, and of no other."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers.notified import Notified, notified
from virtcard.bridge.timers import Timers
from virtcard.notify import notify
from virtcard.watchdog import Watchdog, period

PID = 4711
SHORT = 0.01
PING = "WATCHDOG=1"


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notified]:
    """Whom this process tells how it stands."""
    with TemporaryDirectory(prefix="vc-") as directory, notified(Path(directory)) as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
        yield systemd


@pytest.fixture
def timers() -> Iterator[Timers]:
    timers = Timers()
    yield timers
    timers.close()


def test_pings_come_twice_as_often_as_systemd_wants() -> None:
    assert period({"WATCHDOG_USEC": "60000000"}, PID) == 30
    assert period({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(PID)}, PID) == 30


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_PID": str(PID)},
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "1e9"},
        {"WATCHDOG_USEC": "\u0663"},
    ],
)
def test_without_a_watchdog_of_ours_there_are_none(environ: dict[str, str]) -> None:
    assert period(environ, PID) is None


def test_a_process_that_systemd_does_not_watch_has_no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert Watchdog.wanted(lambda: True) is None
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Watchdog.wanted(lambda: True) is not None


def test_a_socket_with_an_abstract_name_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"virtcard-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(f"\0{name}")
        ours.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("READY=1")
        assert ours.recv(64) == b"READY=1"


def test_nobody_who_listens_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


def watch(watchdog: Watchdog, systemd: Notified, meanwhile: threading.Event) -> list[str | None]:
    """The watchdog runs in its loop; what systemd hears before and after `meanwhile` is set."""

    async def scene() -> list[str | None]:
        task = asyncio.create_task(watchdog.run())
        first = await asyncio.to_thread(systemd.next, 5)
        meanwhile.set()
        await asyncio.sleep(10 * SHORT)
        await asyncio.to_thread(systemd.drain)
        second = await asyncio.to_thread(systemd.next, 20 * SHORT)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [first, second]

    return asyncio.run(scene())


def test_a_daemon_that_lives_pings_again_and_again(systemd: Notified, timers: Timers) -> None:
    assert watch(Watchdog(SHORT, lambda: True, timers), systemd, threading.Event()) == [PING, PING]


def test_a_service_that_does_not_come_to_an_end_is_not_vouched_for(
    systemd: Notified, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = threading.Event()
    assert watch(Watchdog(SHORT, lambda: not stuck.is_set(), timers), systemd, stuck) == [PING, None]
    assert "does not come to the end of its work" in caplog.text


def test_timeouts_that_do_not_come_any_more_stop_the_pings(systemd: Notified, timers: Timers) -> None:
    stuck, gate = threading.Event(), threading.Event()

    def hang_when_stuck() -> None:
        stuck.wait()
        gate.wait()

    threading.Thread(target=lambda: stuck.wait() and timers.schedule(0, hang_when_stuck), daemon=True).start()
    try:
        assert watch(Watchdog(SHORT, lambda: True, timers), systemd, stuck) == [PING, None]
    finally:
        gate.set()
