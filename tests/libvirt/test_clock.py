"""The host's clock is set while virtcardd runs, by years and in both directions: nobody waits longer, or shorter."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from helpers.bus import private_bus
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.qemu_peer import QemuPeer
from helpers.soft_cards import PIN_DIGITS, empty_card
from helpers.virtcardd import Virtcardd, session_virtcardd
from helpers.waiting import wait_until
from virtcard.card.soft.store import Store
from virtcard.names import socket_name

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
JUMPS = ["+3650d", "-7300d", "+1h", "-1h"]
CALM = 3.0
"""Seconds in which a timeout that believes the wall would have come: the longest that is near is the guest's 20."""
SELECT = bytes.fromhex("00a404000ba000000308000010000100")
VERIFY = bytes.fromhex("0020008008") + PIN_DIGITS + b"\xff\xff"
VERIFIED = bytes.fromhex("0020008000")[:4]


@dataclass(frozen=True, slots=True)
class Clockwork:
    """A daemon whose clock is set by a file, and the machine that has its card."""

    daemon: Virtcardd
    peer: QemuPeer
    clock: Path

    def set(self, offset: str) -> None:
        """Its clock jumps: so far from the real one."""
        partial = self.clock.with_suffix(".part")
        partial.write_text(f"{offset}\n")
        partial.replace(self.clock)

    def bridge(self) -> dict[str, Any]:
        """Its one bridge."""
        (bridge,) = self.daemon.json("info", "vm")["bridges"]
        return dict(bridge)

    def since(self) -> int:
        """When its bridge got into the state that it is in, by its own clock."""
        return int(self.bridge()["since"])


@pytest.fixture
def clockwork() -> Iterator[Clockwork]:
    with TemporaryDirectory(prefix="vc-") as name, private_bus() as bus:
        home = Path(name)
        clock = home / "clock"
        clock.write_text("+0\n")
        (home / "virtcard").mkdir(mode=0o700)
        socket = home / "virtcard" / socket_name(domain_uuid("vm"))
        (home / "node.xml").write_text(f"<node>{domain_xml('vm', devices=XHCI + reader_xml(socket))}</node>")
        empty_card(Store(home / "data/virtcard/cards"), "work")
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": name,
            "PCSCLITE_CSOCK_NAME": f"{name}/no-pcscd",
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with closing(QemuPeer(socket)) as peer:
            uri = f"test://{home}/node.xml"
            with session_virtcardd(environment, home, "--connect", uri) as daemon:
                daemon.virtcard("insert", "vm", "card:work")
                peer.wait_card()
                yield Clockwork(daemon, peer, clock)


def year(microseconds: int) -> int:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).year


def test_a_clock_that_jumps_ends_no_login_takes_no_card_and_delays_nothing(clockwork: Clockwork) -> None:
    peer = clockwork.peer
    assert peer.exchange(SELECT)[-2] in {0x61, 0x90}
    assert peer.exchange(VERIFY) == b"\x90\x00"
    since = clockwork.since()
    for jump in JUMPS:
        clockwork.set(jump)
        ends = time.monotonic() + CALM / len(JUMPS)
        wait_until(lambda ends=ends: time.monotonic() > ends, CALM, "whoever believes the wall has acted")  # type: ignore[misc]
        assert peer.exchange(VERIFIED) == b"\x90\x00", f"{jump}: still logged in"
        assert clockwork.since() == since, f"{jump}: the card stayed in"
        assert peer.connections == 1
    clockwork.set("+3650d")
    began = time.monotonic()
    clockwork.daemon.virtcard("eject", "vm")
    clockwork.set("-3650d")
    clockwork.daemon.virtcard("insert", "vm", "card:work")
    assert time.monotonic() - began < 15, "the ceremony and its gap take as long as ever"
    assert peer.exchange(SELECT)[-2] in {0x61, 0x90}


def test_people_are_told_the_time_of_the_wall(clockwork: Clockwork) -> None:
    """So the jumps of the other test do reach the daemon."""
    now = datetime.now(UTC).year
    assert year(clockwork.since()) == now
    clockwork.set("+7300d")
    clockwork.daemon.virtcard("eject", "vm")
    assert year(clockwork.since()) in {now + 19, now + 20}


def test_a_machine_that_goes_away_is_looked_for_at_the_usual_pace(clockwork: Clockwork) -> None:
    clockwork.set("-3650d")
    clockwork.peer.hang_up()
    clockwork.set("+3650d")
    clockwork.peer.wait_for(lambda: clockwork.peer.connections == 2, "it is connected again")
    wait_until(lambda: clockwork.bridge()["state"] == "inserted", 10, "the card is in again", 0.1)
    assert clockwork.peer.exchange(VERIFIED) != b"\x90\x00", "the login ended with the connection"
