"""One private libvirtd and one booted guest a USB controller, for all guest tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from helpers.askings import timing
from helpers.guest import Guest
from helpers.host import private_host
from helpers.jobs import Job, job
from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.machines import Usb, libvirt_guest, smartcard_xml

SEED = time.time_ns() % 1_000_000


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[Libvirtd]:
    """A private libvirtd; a test that defines a domain in it undefines it again."""
    with private_libvirtd() as daemon:
        yield daemon


@pytest.fixture(scope="session", params=["xhci", "uhci"])
def usb(request: pytest.FixtureRequest) -> Usb:
    """The kind of USB controller that the virtual reader hangs on.

    For one kind alone: `@pytest.mark.parametrize("usb", ["xhci"], indirect=True, scope="session")`.
    """
    kind: Usb = request.param
    return kind


@pytest.fixture(scope="session")
def card_socket(libvirtd: Libvirtd, usb: Usb) -> Path:
    """The unix socket behind which the card of `guest`'s virtual reader is; QEMU listens."""
    return libvirtd.directory / f"{usb}.card"


@pytest.fixture(scope="session")
def guest(libvirtd: Libvirtd, usb: Usb, card_socket: Path) -> Iterator[Guest]:
    """A booted guest with one virtual reader, shared by all tests: leave the reader empty."""
    with libvirt_guest(libvirtd, f"guest-{usb}", usb, smartcard_xml(card_socket)) as booted:
        booted.wait_for_readers(1)
        yield booted


@pytest.fixture(scope="module")
def running(libvirtd: Libvirtd, usb: Usb) -> Iterator[Job]:
    """A guest at work with its card, on a host of its own, whose parts a test may kill."""
    with private_host(libvirtd) as host, job(host, usb) as one:
        yield one


@pytest.fixture
def rng() -> Random:
    """For moments that are never the same; what it began with is printed."""
    print(f"seed {SEED}")
    return Random(SEED)


@pytest.fixture
def times() -> Iterator[list[float]]:
    """Seconds that a guest waited, told at the end."""
    with timing() as seconds:
        yield seconds
