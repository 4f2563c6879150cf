"""The bridge against QEMU's own ccid-card-passthru; no guest runs, so only the device speaks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.bridges import Watched
from helpers.fake_card import FakeCard
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.runner import BridgeState

MakeBridge = Callable[..., Watched]


@contextmanager
def qemu(path: Path, options: str = "server=on,wait=off") -> Iterator[subprocess.Popen[bytes]]:
    """A machine with a virtual reader, paused before its first instruction."""
    process = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"),
            *("-chardev", f"socket,id=card,path={path},{options}"),
            *("-device", "qemu-xhci", "-device", "usb-ccid", "-device", "ccid-card-passthru,chardev=card"),
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def test_card_goes_in_and_out_and_the_end_is_orderly(make_bridge: MakeBridge, socket_path: Path) -> None:
    watched, card = make_bridge(), FakeCard()
    watched.bridge.insert(card)
    with qemu(socket_path) as process:
        watched.wait(BridgeState.INSERTED)
        watched.bridge.eject()
        watched.wait(BridgeState.EMPTY)
        watched.bridge.insert(card)
        watched.wait(BridgeState.INSERTED)
        watched.bridge.stop()
        assert watched.bridge.join(10)
        assert process.poll() is None


def test_next_bridge_finds_the_client_slot_free(make_bridge: MakeBridge, socket_path: Path) -> None:
    with qemu(socket_path):
        for _ in range(3):
            watched = make_bridge()
            watched.bridge.insert(FakeCard())
            watched.wait(BridgeState.INSERTED)
            watched.bridge.stop()
            assert watched.bridge.join(10)


def test_second_bridge_is_told_that_the_chardev_is_busy(make_bridge: MakeBridge, socket_path: Path) -> None:
    with qemu(socket_path):
        first = make_bridge()
        first.wait(BridgeState.EMPTY)
        second = make_bridge()
        second.wait(BridgeState.FAILED, error="busy with another client")
        first.bridge.stop()
        second.wait(BridgeState.EMPTY)


def test_card_is_in_again_after_the_machine_came_back(make_bridge: MakeBridge, socket_path: Path) -> None:
    watched = make_bridge()
    watched.bridge.insert(FakeCard())
    for _ in range(2):
        with qemu(socket_path):
            watched.wait(BridgeState.INSERTED)
        watched.wait(BridgeState.CONNECTING)
        watched.forget()


def test_machine_that_waits_for_us_greets_twice(make_bridge: MakeBridge, socket_path: Path) -> None:
    with qemu(socket_path, "server=on,wait=on"):
        watched = make_bridge()
        watched.bridge.insert(FakeCard())
        watched.wait(BridgeState.INSERTED)


def test_machine_that_connects_to_us(make_bridge: MakeBridge, socket_path: Path) -> None:
    watched = make_bridge(Endpoint(Scheme.UNIX, path=str(socket_path), listen=True))
    watched.bridge.insert(FakeCard())
    with qemu(socket_path, "server=off,reconnect=1"):
        watched.wait(BridgeState.INSERTED)
    watched.wait(BridgeState.CONNECTING)
