"""`pkcs11-tool -O` in a guest on UHCI: our CAC card beside the one that QEMU emulates, with the same certificates.

Each is listed with the other reader hidden from OpenSC, in turn; the processor is emulated (TCG).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from helpers import nss
from helpers.guest import Guest
from helpers.machines import qemu_guest, reader_arguments
from helpers.soft_cards import wanted
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.card.selection import Selection
from virtcard.card.soft.make import create_from
from virtcard.card.soft.model import CardType
from virtcard.card.soft.nss import NICKNAMES, import_nss
from virtcard.card.soft.source import SoftSource
from virtcard.card.soft.store import Store

TURNS = 7
LISTINGS = 2
"""Of one turn: the guest's clock has steps of 10 ms."""
READERS = ("bridge", "emulated")
"""In the order of the guest's list."""


def run() -> dict[str, float]:
    """Milliseconds a listing for each card, and the ratio."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="vc-")))
        guest = stack.enter_context(qemu_guest(home, "uhci", [*reader_arguments(home / "0"), *_emulated()]))
        guest.wait_for_readers(len(READERS))
        stack.enter_context(_bridge(home))
        for number in range(len(READERS)):
            guest.wait_reader_state("present", number)
        _hide_readers(guest)
        return _measure(guest)


def _measure(guest: Guest) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(TURNS):
        for name in READERS:
            times[name].append(_listing(guest, name))
    medians = {name: median(values) for name, values in times.items()}
    return {f"listing_{name}_ms": value for name, value in medians.items()} | {
        "listing_ratio": medians["bridge"] / medians["emulated"]
    }


def _listing(guest: Guest, name: str) -> float:
    once = f"OPENSC_CONF=/tmp/{name}.conf pkcs11-tool -O > /tmp/listed 2>&1"
    clock = "cut -d' ' -f1 /proc/uptime"
    said = guest.run(f"{clock}; {'; '.join([once] * LISTINGS)}; {clock}; grep -c '^Certificate' /tmp/listed", 120)
    begin, end, certificates = said.check().split()
    assert int(certificates) == len(NICKNAMES), guest.run("cat /tmp/listed").output
    return (float(end) - float(begin)) * 1e3 / LISTINGS


def _hide_readers(guest: Guest) -> None:
    """A configuration of OpenSC for each card, which does not know the other's reader."""
    names = [reader.name for reader in guest.readers()]
    for name, other in zip(READERS, reversed(names), strict=True):
        guest.put(f"/tmp/{name}.conf", f'app default {{ ignored_readers = "{other}"; }}\n'.encode())


def _emulated() -> list[str]:
    names = ",".join(f"cert{number}={name}" for number, name in enumerate(NICKNAMES, 1))
    card = f"ccid-card-emulated,bus=ccid1.0,backend=certificates,{names},db=sql:{nss.shared_database()}"
    return ["-device", "usb-ccid,id=ccid1", "-device", card]


@contextmanager
def _bridge(home: Path) -> Iterator[None]:
    """Our card, with the keys of the same database."""
    store = Store(home / "cards")
    found = import_nss(str(nss.shared_database()), NICKNAMES, nss.PASSWORD)
    create_from(store, wanted("cac", CardType.CAC), dict(zip(("id", "signing", "encryption"), found, strict=True)))
    bridge = Bridge(Endpoint.unix(str(home / "0")), lambda status: None)
    bridge.start()
    bridge.insert(Selection(SoftSource(store).open("cac")))
    try:
        yield
    finally:
        bridge.stop()
        bridge.join(5)
