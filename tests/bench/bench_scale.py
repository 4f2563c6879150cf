"""10, 100 and 1,000 machines on one virtcardd, each with a bridge to a stand-in for QEMU and a software card.

virtcardd is a process of its own with a real bus and libvirt's test driver; the machines are another one. The growths
compare what the thousandth machine costs with what the hundredth does, in one run: 1 is linear. They are of processor
time and memory, which others on the machine do not change. The test driver lives in the daemon's process, so its memory
is in the daemon's figures; what it takes alone stands beside them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cryptography.x509 import load_der_x509_certificate

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from helpers.crowd import Crowd, crowd  # noqa: E402 (a benchmark runs by itself, too)
from helpers.hosted import Hosted, card_store, hosted, sockets, write_node  # noqa: E402
from helpers.soft_cards import PIN_DIGITS, wanted  # noqa: E402
from virtcard.card.soft import keys, make  # noqa: E402
from virtcard.card.soft.ca import Authority, Holder, parse_subject  # noqa: E402
from virtcard.card.soft.layout import Purpose  # noqa: E402
from virtcard.card.soft.material import Material  # noqa: E402
from virtcard.card.soft.model import Algorithm  # noqa: E402
from virtcard.card.soft.store import Store  # noqa: E402
from virtcard.limits import ACK_PATIENCE, INSERT_GAP  # noqa: E402
from virtcard.service.pace import pause_after  # noqa: E402
from virtcard.wire.apdu import CommandApdu  # noqa: E402
from virtcard.wire.tlv import build  # noqa: E402

SIZES = (10, 100, 1000)
CROWDED = 100
"""Machines of the measurement of fairness: 99 sign, and one looks."""
IDLE_SECONDS = 30.0
LOAD_SECONDS = 10.0
STARTS = 15
PASSES = 5
ALL_IN_PATIENCE = 120.0
KEEP_ALIVE = 1.0

SELECT = CommandApdu(0, 0xA4, 4, 0, bytes.fromhex("A000000308000010000100"), 256).encode()
VERIFY = CommandApdu(0, 0x20, 0, 0x80, PIN_DIGITS + b"\xff\xff").encode()
DIGEST_INFO = b"\0\1" + b"\xff" * 202 + b"\0" + bytes.fromhex("3031300D060960864801650304020105000420") + bytes(32)


def run() -> dict[str, float]:
    """Figures by the number of machines, and how they grow."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures: dict[str, float] = {}
    for size in SIZES:
        figures |= {f"scale_{name}": value for name, value in _measure(size).items()}
    return figures | _growth(figures)


def _measure(size: int) -> dict[str, float]:
    with _house(size) as (daemon, machines):
        first = daemon.ask("first_pass")
        begin = time.perf_counter()
        machines.wait_for(size, ALL_IN_PATIENCE)
        figures = {
            f"first_pass_{size}_s": first,
            f"all_in_{size}_s": first + time.perf_counter() - begin,
            f"start_{size}_cpu_s": daemon.figures().processor,
        }
        figures |= _idle(daemon, size) | _passes(daemon, size)
        parts = [figures[f"{part}_cpu_{size}_percent"] for part in ("bridges", "passes")]
        figures[f"idle_cpu_{size}_percent"] = sum(parts)
        figures |= {f"apdus_{size}_per_s": _throughput(machines, size)}
        if size == CROWDED:
            figures |= _fairness(machines)
        return figures | _event_to_card(daemon, machines, size)


@contextmanager
def _house(size: int) -> Iterator[tuple[Hosted, Crowd]]:
    names = [f"vm{number}" for number in range(size)]
    with TemporaryDirectory(prefix="vc-") as directory:
        home = Path(directory)
        write_node(home, {name: f"card:{name}" for name in names})
        _make_cards(card_store(home), names)
        with crowd(sockets(home, names)) as machines, hosted(home) as daemon:
            yield daemon, machines


def _make_cards(directory: Path, names: Sequence[str]) -> None:
    """Those of the machines that sign have all the same key, which is quicker to make."""
    store = Store(directory)
    key = keys.generate(Algorithm.RSA2048)
    der = Authority.new(parse_subject("CN=CA")).issue(
        key.public_key(), Holder(parse_subject("CN=X")), Purpose.AUTHENTICATION, 10
    )
    for name in names[:CROWDED]:
        make.create_from(store, wanted(name), {"9a": Material(key, load_der_x509_certificate(der))})
    for name in names[CROWDED:]:
        make.create_from(store, wanted(name), {})


def _idle(daemon: Hosted, size: int) -> dict[str, float]:
    """Between two passes, after the last timeouts that were stopped have left the heap."""
    time.sleep(ACK_PATIENCE + KEEP_ALIVE)
    before, begin = daemon.figures(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    after, seconds = daemon.figures(), time.monotonic() - begin
    return {
        f"bridges_cpu_{size}_percent": 100 * (after.processor - before.processor) / seconds,
        f"rss_{size}_mb": after.resident / 1e6,
        f"threads_{size}": after.threads,
        f"descriptors_{size}": after.descriptors,
    }


def _passes(daemon: Hosted, size: int) -> dict[str, float]:
    """One more look at everything, and what such looks take as often as they come."""
    before = daemon.figures().processor
    taken = [daemon.ask("full_pass") for _ in range(PASSES)]
    processor = (daemon.figures().processor - before) / PASSES
    return {
        f"next_pass_{size}_s": median(taken),
        f"next_pass_{size}_cpu_s": processor,
        f"passes_cpu_{size}_percent": 100 * processor / pause_after(median(taken)),
    }


def _throughput(machines: Crowd, size: int) -> float:
    """All machines send SELECT without a pause; each is two commands, with GET RESPONSE."""
    load = machines.load(range(size), [SELECT], LOAD_SECONDS)
    return 2 * sum(load.rounds) / LOAD_SECONDS


def _fairness(machines: Crowd) -> dict[str, float]:
    """One machine sends SELECT without a pause, while 99 sign with RSA 2048 without one."""
    signers = range(1, CROWDED)
    answers = machines.once(signers, SELECT, VERIFY)
    assert set(answers) == {b"\x90\x00"}, answers
    template = build(0x7C, build(0x82) + build(0x81, DIGEST_INFO))
    sign = [
        CommandApdu(0x10, 0x87, 0x07, 0x9A, template[:255]).encode(),
        CommandApdu(0, 0x87, 0x07, 0x9A, template[255:], 256).encode(),
    ]
    assert all(answer[-2:] == b"\x90\x00" for answer in machines.once(signers, *sign))
    load = machines.load(signers, sign, LOAD_SECONDS, observer=0, observed=[SELECT])
    return {
        "latency_p50_ms": load.observed(0.5),
        "latency_p99_ms": load.observed(0.99),
        "latency_max_ms": load.observed(1),
        "signatures_per_s": sum(load.rounds) / LOAD_SECONDS,
        "fastest_to_slowest_signer_ratio": max(load.rounds) / max(1, min(load.rounds)),
    }


def _event_to_card(daemon: Hosted, machines: Crowd, size: int) -> dict[str, float]:
    """A machine is stopped and started: from libvirt's event to the card in its guest, beyond INSERT_GAP."""
    taken = []
    for _ in range(STARTS):
        daemon.ask("stop", name="vm0")
        machines.wait_for(size - 1, 30)
        daemon.ask("start", name="vm0")
        machines.wait_for(size, 30)
        taken.append(machines.moments(0).inserted_at - daemon.ask("started", name="vm0") - INSERT_GAP)
    return {f"event_to_card_{size}_beyond_gap_ms": 1000 * median(taken)}


def _growth(figures: dict[str, float]) -> dict[str, float]:
    """What each machine between 100 and 1,000 costs, by what each between 10 and 100 does."""
    found = {}
    for name in ("start_{}_cpu_s", "next_pass_{}_cpu_s", "rss_{}_mb", "threads_{}", "descriptors_{}"):
        few, some, many = (figures[f"scale_{name.format(size)}"] for size in SIZES)
        found[f"scale_growth_{name.partition('_{')[0]}"] = (many - some) / 900 / ((some - few) / 90)
    return found | {"scale_test_driver_1000_mb": _driver_memory(1000)}


def _driver_memory(size: int) -> float:
    """What libvirt's test driver takes for so many machines in a process that does nothing else."""
    with TemporaryDirectory(prefix="vc-") as directory:
        home = Path(directory)
        write_node(home, {f"vm{number}": f"card:vm{number}" for number in range(size)})
        script = (
            "import libvirt, sys\n"
            "resident = lambda: int(open('/proc/self/statm').read().split()[1])\n"
            "before = resident()\n"
            "connection = libvirt.open(sys.argv[1])\n"
            "print(resident() - before)\n"
        )
        words = [sys.executable, "-c", script, f"test://{home}/node.xml"]
        return int(subprocess.run(words, check=True, capture_output=True).stdout) * resource.getpagesize() / 1e6


def main(sizes: Sequence[str]) -> None:
    """Only these sizes."""
    for size in map(int, sizes or map(str, SIZES)):
        sys.stdout.write(json.dumps({name: round(value, 3) for name, value in _measure(size).items()}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
