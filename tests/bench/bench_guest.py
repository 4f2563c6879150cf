"""A SELECT as software in a real guest meets it: through a bridge, and from the card that QEMU can emulate itself.

One guest with three readers, and by turns in one run, so that a busy moment of the machine hits all of them:
- bridge: ccid-card-passthru, our bridge, and a card that answers at once;
- pcsc: the same with the whole way behind it: ReaderCard, a pcscd of the host, a card in a virtual reader;
- emulated: ccid-card-emulated with three certificates, libcacard inside of QEMU.
The target is for the bridge: behind `pcsc` stand two more processes of the host, pcscd and the card's, which share the
processors with the guest's. Times are medians of 100 commands, taken in the guest; the processor is emulated (TCG).
"""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from helpers.fake_card import FakeCard
from helpers.guest import Guest
from helpers.machines import qemu_guest, reader_arguments
from helpers.pcsc_lab import running_lab
from helpers.scripted_card import ATR_T0, ScriptedCard
from helpers.vpcd import serve
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.base import Card
from virtcard.card.selection import Selection

TURNS = 15
COMMANDS = 100
SELECT = "00A4040007A000000079010000"
"""The applet that libcacard shows for its first certificate; the other two cards answer it with a status word, too."""
CERTIFICATES = ("one", "two", "three")
READERS = ("bridge", "pcsc", "emulated")
"""In the order of their USB ports, which is that of the guest's list."""


class Plain(FakeCard):
    """Answers every command at once with what libcacard answers to SELECT, without taking notes."""

    def transmit(self, command: bytes) -> bytes:
        """9000."""
        return b"\x90\x00"


def run() -> dict[str, float]:
    """Microseconds a SELECT for each reader, and the ratios to the emulated card."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="vc-")))
        lab = stack.enter_context(running_lab())
        stack.enter_context(_card_process(lab.pcscd.port))
        lab.seen(ATR_T0)
        guest = stack.enter_context(qemu_guest(home, "xhci", _readers(home)))
        guest.wait_for_readers(len(READERS))
        stack.enter_context(_bridge(home / "0", Plain()))
        stack.enter_context(_bridge(home / "1", lab.card()))
        for number in range(len(READERS)):
            guest.wait_reader_state("present", number)
        return _measure(guest)


def _measure(guest: Guest) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(TURNS):
        for number, name in enumerate(READERS):
            times[name].append(_selects(guest, number))
    medians = {name: median(values) for name, values in times.items()}
    return {f"guest_{name}_us": value for name, value in medians.items()} | {
        "guest_bridge_ratio": medians["bridge"] / medians["emulated"],
        "guest_pcsc_ratio": medians["pcsc"] / medians["emulated"],
    }


def _selects(guest: Guest, reader: int) -> float:
    """The median of COMMANDS commands in microseconds, as the guest measures it."""
    line = guest.scard(f"times:{COMMANDS}", SELECT, index=reader, timeout=120).check().splitlines()[-1]
    return float(line.split()[0])


def _readers(home: Path) -> list[str]:
    return [*reader_arguments(home / "0", 0), *reader_arguments(home / "1", 1), *_emulated(home / "nss", 2)]


def _emulated(database: Path, number: int) -> Sequence[str]:
    """QEMU arguments of a reader with the card that QEMU emulates, and the NSS database that it needs."""
    database.mkdir()
    _certutil(database, "-N", "--empty-password")
    noise = database / "noise"
    noise.write_bytes(bytes(range(256)))
    for name in CERTIFICATES:
        subject = [
            "-S",
            "-x",
            "-n",
            name,
            "-s",
            f"CN={name}",
            "-t",
            "CT,CT,CT",
            "-m",
            str(len(name) * 7 + ord(name[0])),
        ]
        _certutil(database, *subject, "-z", str(noise))
    names = ",".join(f"cert{at}={name}" for at, name in enumerate(CERTIFICATES, 1))
    card = f"ccid-card-emulated,backend=certificates,db=sql:{database},{names},bus=ccid{number}.0"
    return ["-device", f"usb-ccid,id=ccid{number}", "-device", card]


def _certutil(database: Path, *words: str) -> None:
    subprocess.run(["certutil", "-d", f"sql:{database}", *words], check=True, capture_output=True)


@contextmanager
def _bridge(path: Path, card: Card) -> Iterator[None]:
    bridge = Bridge(Endpoint.unix(str(path)), lambda status: None)
    bridge.start()
    bridge.insert(Selection(card))
    try:
        yield
    finally:
        bridge.stop()
        bridge.join(5)


@contextmanager
def _card_process(port: int) -> Iterator[None]:
    """The card in the host's reader, in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=_be_card, args=(port,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _be_card(port: int) -> None:
    serve(port, ScriptedCard())
