"""One private libvirtd and one booted guest a USB controller, for all guest tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.guest import Guest
from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.machines import Usb, libvirt_guest, smartcard_xml


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
