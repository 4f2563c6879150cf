"""virtcardd as a process, and machines whose QEMU means harm: they cost little, and gain nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from helpers import bench_peer
from helpers.bus import private_bus
from helpers.domains import XHCI, domain_uuid, domain_xml, reader_xml
from helpers.hostile import ATTACKS, Attack, Hostile
from helpers.qemu_peer import NotTransacted, QemuPeer
from helpers.services import wish_metadata
from helpers.soft_cards import PIN_DIGITS, PUK_DIGITS, empty_card
from helpers.virtcardd import Virtcardd, session_virtcardd
from helpers.waiting import slowness, wait_until
from virtcard.card.soft.store import Store
from virtcard.names import socket_name

GOOD, GUARDED = "good", "guarded"
"""A machine that does nothing wrong, and one that may read its card and no more."""
POLICY = f"""\
[[rule]]
vm = "{GUARDED}"
card = "card:{GUARDED}"
action = "allow"
commands = "read"

[[rule]]
vm = "{GUARDED}"
action = "deny"

[[rule]]
card = "card:{GUARDED}"
action = "deny"

[[rule]]
action = "allow"
commands = "full"
pin-reserve = 0
"""
MEMORY_MAX = 8.0
"""MiB that all attacks together may cost: the buffers of a bridge are 64 KiB for input, eight commands of as much that
wait, and 256 KiB for output, and the interpreter keeps some of what it has used."""
SLOWEST_MAX = 0.1
"""Seconds for all but one in a hundred commands of the machine that does nothing wrong, beside all attacks at once."""
RATIO_MAX = 40.0
"""How many times longer its commands may take than without an attack; it was seven at most, all attacks at once."""
ATTACK = 1.5
"""Seconds of an attack alone."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The daemon, a hostile machine for each attack, and a machine that does nothing wrong."""

    daemon: Virtcardd
    home: Path
    hostile: Mapping[Attack, Hostile]

    def socket(self, name: str) -> Path:
        return self.home / "virtcard" / socket_name(domain_uuid(name))

    def card(self, name: str) -> bytes:
        """The card's file."""
        return (self.home / "data/virtcard/cards" / f"{name}.card").read_bytes()

    def memory(self) -> float:
        """MiB that are resident."""
        lines = Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024

    @contextmanager
    def attacked(self, *attacks: Attack) -> Iterator[None]:
        """The machines of these attacks are at it."""
        hostile = [self.hostile[attack] for attack in attacks]
        for each in hostile:
            each.on.set()
        try:
            yield
        finally:
            for each in hostile:
                each.on.clear()

    def latency(self, rounds: int) -> dict[str, float]:
        """Microseconds of the good machine's commands, timed in a process of its own: median and p99."""
        command = [sys.executable, bench_peer.__file__, "unix", str(self.socket(GOOD)), str(rounds)]
        try:
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        finally:
            self.socket(GOOD).unlink(missing_ok=True)
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    names = [GOOD, GUARDED, *(attack.__name__ for attack in ATTACKS)]
    with TemporaryDirectory(prefix="vc-") as directory, private_bus() as bus:
        home = Path(directory)
        (home / "virtcard").mkdir(mode=0o700)
        store = Store(home / "data/virtcard/cards")
        domains = []
        for name in names:
            empty_card(store, name)
            devices = XHCI + reader_xml(home / "virtcard" / socket_name(domain_uuid(name)))
            domains.append(domain_xml(name, devices=devices, metadata=wish_metadata(f"card:{name}")))
        (home / "node.xml").write_text(f"<node>{''.join(domains)}</node>")
        environment = os.environ | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "XDG_RUNTIME_DIR": directory,
            "PCSCLITE_CSOCK_NAME": f"{directory}/no-pcscd",
        }
        with ExitStack() as stack:
            hostile = {
                each: Hostile(home / "virtcard" / socket_name(domain_uuid(each.__name__)), each) for each in ATTACKS
            }
            for each in hostile.values():
                stack.callback(each.close)
            uri = f"test://{home}/node.xml"
            daemon = stack.enter_context(session_virtcardd(environment, home, "--connect", uri))
            daemon.policy(POLICY)
            daemon.virtcard("policy", "reload")
            wait_until(lambda: all(each.connections for each in hostile.values()), 20, "all have their bridges")
            yield Lab(daemon, home, hostile)


def test_no_attack_raises_memory_beyond_a_bound_or_stops_another_bridge(lab: Lab) -> None:
    """Each alone, and then all of them at once."""
    lab.latency(500)
    with lab.attacked(*ATTACKS):  # so that what is loaded late is loaded
        _go_on()
    quiet, before = lab.latency(2000), lab.memory()
    for attacks in (*((attack,) for attack in ATTACKS), ATTACKS):
        with lab.attacked(*attacks):
            figures = lab.latency(500)
            _go_on()
            assert lab.daemon.json("status")["bridges"] == len(ATTACKS) + 2
            _report(attacks, figures, quiet, lab.memory() - before)
        assert figures["p99"] < SLOWEST_MAX * 1e6 * slowness()
        assert figures["median"] < RATIO_MAX * quiet["median"]
        assert lab.memory() - before < MEMORY_MAX


def _go_on() -> None:
    ended = time.monotonic() + ATTACK
    wait_until(lambda: time.monotonic() > ended, 2 * ATTACK, "the attack has gone on for a while")


def _report(attacks: tuple[Attack, ...], figures: dict[str, float], quiet: dict[str, float], growth: float) -> None:
    """Shown with pytest -rP."""
    name = attacks[0].__name__ if len(attacks) == 1 else "all at once"
    ratio = figures["median"] / quiet["median"]
    print(
        f"{name:32} median {figures['median']:4.0f} µs, {ratio:4.1f} times that without; p99 {figures['p99']:6.0f} µs;"
        f" memory {growth:+.1f} MiB"
    )


def test_who_breaks_the_protocol_is_named_to_the_operator(lab: Lab) -> None:
    attack = next(each for each in ATTACKS if each.__name__ == "flood_of_unknown_messages")
    with lab.attacked(attack):
        info = partial(lab.daemon.json, "info", attack.__name__)
        wait_until(lambda: "mean nothing" in info()["bridges"][0]["last_error"], 10, "the error is told", 0.1)


VERIFY = b"\x00\x20\x00\x80\x08" + PIN_DIGITS + b"\xff\xff"
WRONG = b"\x00\x20\x00\x80\x08" + b"999999\xff\xff"
BEYOND = {
    "verify": VERIFY,
    "verify a wrong PIN": WRONG,
    "verify by another class": b"\x01" + VERIFY[1:],
    "verify by a class of the industry": b"\x80" + VERIFY[1:],
    "verify in a chain": b"\x10" + VERIFY[1:],
    "verify in extended form": b"\x00\x20\x00\x80\x00\x00\x08" + VERIFY[5:],
    "verify with an odd instruction": b"\x00\x21\x00\x80" + VERIFY[4:],
    "verify that is cut": VERIFY[:-3],
    "verify with more than it says": VERIFY + b"\x00\x00\x00",
    "change the PIN": b"\x00\x24\x00\x80\x10" + PIN_DIGITS + b"\xff\xff" + b"111111\xff\xff",
    "unblock the PIN": b"\x00\x2c\x00\x80\x10" + PUK_DIGITS + b"111111\xff\xff",
    "sign": bytes.fromhex("0087079a0a7c0882008104") + b"abcd" + b"\x00",
    "put data": bytes.fromhex("00db3fff085c035fc1025301ff"),
    "make a key": bytes.fromhex("0047009a05ac0380010700"),
    "start anew": bytes.fromhex("00fb0000"),
    "set the counters": bytes.fromhex("00fa0101"),
}
REFUSALS = {0x69, 0x6A, 0x6D, 0x6E, 0x67, 0x68}
SELECT = bytes.fromhex("00a404000ba000000308000010000100")


@pytest.fixture
def guarded(lab: Lab) -> Iterator[QemuPeer]:
    """The machine that may only read, with its card in and selected."""
    with closing(QemuPeer(lab.socket(GUARDED))) as peer:
        peer.wait_card(20)
        answer = peer.exchange(SELECT)
        assert answer[-2] in {0x61, 0x90}
        yield peer


Way = Callable[[QemuPeer, bytes], None]


def whole(peer: QemuPeer, command: bytes) -> None:
    peer.send_apdu(command)


def in_pieces(peer: QemuPeer, command: bytes) -> None:
    """Byte by byte, header and all."""
    with peer._lock:
        peer._pending += 1
    for byte in len(command).to_bytes(1):
        for one in b"\0\0\0\7\0\0\0\0\0\0\0" + bytes([byte]) + command:
            peer.send_raw(bytes([one]))


@pytest.mark.parametrize("way", [whole, in_pieces])
def test_no_command_reaches_a_card_beyond_its_policy(lab: Lab, guarded: QemuPeer, way: Way) -> None:
    before = lab.card(GUARDED)
    for name, command in BEYOND.items():
        way(guarded, command)
        answer = _answer(guarded)
        assert answer is None or answer[-2] in REFUSALS, f"{name}: {answer[-2:].hex()}"
    assert lab.card(GUARDED) == before, "no try is lost, and nothing was written"
    assert guarded.exchange(SELECT)[-2] in {0x61, 0x90}, "the card still serves"


def test_commands_beyond_its_policy_among_a_flood_do_not_reach_a_card(lab: Lab, guarded: QemuPeer) -> None:
    before = lab.card(GUARDED)
    for _ in range(20):
        for command in (SELECT, WRONG, SELECT, WRONG, SELECT, WRONG):
            guarded.send_apdu(command)
        statuses = [_answer(guarded) for _ in range(6)]
        assert all(answer is None or answer[-2] in REFUSALS for answer in statuses[1::2])
    assert lab.card(GUARDED) == before


def test_a_card_of_another_machine_is_out_of_reach(lab: Lab) -> None:
    for vm, source in ((GUARDED, f"card:{GOOD}"), (GOOD, f"card:{GUARDED}")):
        done = lab.daemon.run("insert", vm, source)
        assert done.returncode == 5, done.stderr


def _answer(peer: QemuPeer) -> bytes | None:
    """None for VSC_Error."""
    try:
        return peer.answer(20)
    except NotTransacted:
        return None
