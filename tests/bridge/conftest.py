"""A bridge with short timeouts, and what watches over it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from helpers.bridges import Watched
from helpers.qemu_peer import Fault, QemuPeer
from helpers.waiting import wait_until
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.timers import Timers


@pytest.fixture(autouse=True)
def _nothing_is_leaked() -> Iterator[None]:
    """Every test gives back its threads and its descriptors."""
    threads, descriptors = threading.active_count(), _descriptors()
    yield
    wait_until(lambda: threading.active_count() <= threads, 10, "the end of all threads")
    assert _descriptors() <= descriptors


@pytest.fixture
def timers(_nothing_is_leaked: None) -> Iterator[Timers]:
    timers = Timers()
    yield timers
    timers.close()


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Short enough for a unix socket."""
    with TemporaryDirectory(prefix="vc-") as directory:
        yield Path(directory) / "s"


@pytest.fixture
def make_peer(socket_path: Path, timers: Timers) -> Iterator[Callable[..., QemuPeer]]:
    """Starts peers, by default on the unix socket of this test."""
    peers: list[QemuPeer] = []

    def make(
        where: Path | tuple[str, int] = socket_path, *, listen: bool = True, fault: Fault | None = None, **more: Any
    ) -> QemuPeer:
        peers.append(QemuPeer(where, listen=listen, fault=fault, **more))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def make_bridge(socket_path: Path, timers: Timers) -> Iterator[Callable[..., Watched]]:
    """Starts bridges, by default to the unix socket of this test."""
    bridges: list[Watched] = []

    def make(endpoint: Endpoint | None = None, **options: object) -> Watched:
        watched = Watched(endpoint or Endpoint(Scheme.UNIX, path=str(socket_path)), timers, Random(1), **options)
        bridges.append(watched)
        watched.bridge.start()
        return watched

    yield make
    for watched in bridges:
        watched.bridge.stop()
        assert watched.bridge.join(10)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
