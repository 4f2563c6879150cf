"""A whole private host: libvirtd, pcscd with virtual readers, a session bus, and virtcardd on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from helpers.bus import PrivateBus, private_bus
from helpers.libvirtd import Libvirtd, private_libvirtd
from helpers.pcscd import Pcscd
from helpers.virtcardd import Virtcardd, session_virtcardd
from helpers.vpcd import Slot


@dataclass(frozen=True, slots=True)
class Host:
    """What runs. `slots` are the two readers "Virtual PCD 00 00" and "00 01", both empty at first."""

    libvirtd: Libvirtd
    pcscd: Pcscd
    slots: tuple[Slot, Slot]
    bus: PrivateBus
    virtcardd: Virtcardd


@contextmanager
def private_host(libvirtd: Libvirtd | None = None, *, own_pcscd: bool = False, **variables: str) -> Iterator[Host]:
    """Start everything, beside a libvirtd that runs already if one is given; nothing is left of it afterwards.

    Several hosts at a time need `own_pcscd`: else this process has one socket for them. `variables` are set in the
    environment of virtcardd and of its clients.
    """
    with ExitStack() as stack:
        libvirtd = libvirtd or stack.enter_context(private_libvirtd())
        own = libvirtd.directory / "pcsc/pcscd.comm"
        pcscd = stack.enter_context(Pcscd(own) if own_pcscd else Pcscd())
        slots = (stack.enter_context(Slot(pcscd.port)), stack.enter_context(Slot(pcscd.port + 1)))
        bus = stack.enter_context(private_bus())
        environment = libvirtd.environment() | {
            "DBUS_SESSION_BUS_ADDRESS": bus.address,
            "PCSCLITE_CSOCK_NAME": str(pcscd.path),
            **variables,
        }
        virtcardd = stack.enter_context(session_virtcardd(environment, libvirtd.directory, "--connect", libvirtd.uri))
        yield Host(libvirtd, pcscd, slots, bus, virtcardd)
