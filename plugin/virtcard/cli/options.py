"""Which virtcardd a command speaks to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal
from urllib.parse import urlsplit

from virtcard.cli.door import Door
from virtcard.errors import InvalidArgument, Unsupported

Bus = Literal["system", "session"]

URI_VARIABLES = ("VIRSH_DEFAULT_CONNECT_URI", "LIBVIRT_DEFAULT_URI")
"""In virsh's own order."""


def choose_bus(uri: str | None, place: str | None, environment: Mapping[str, str] = os.environ) -> Bus:
    """--system and --session, then --connect, then virsh's variables, then the system bus."""
    if uri is not None:
        return _agreed(bus_of(uri), place)
    if place is not None:
        return "session" if place == "session" else "system"
    named = next((environment[name] for name in URI_VARIABLES if environment.get(name)), "")
    return bus_of(named) if named else "system"


def bus_of(uri: str) -> Bus:
    """The bus whose virtcardd serves this libvirt URI; Unsupported for another machine, InvalidArgument else."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidArgument(f"'{uri}' is not a URI: {error}.", hint="See 'virsh uri'.") from None
    qemu = parts.scheme.partition("+")[0] == "qemu" and parts.path in ("/system", "/session")
    if qemu and parts.netloc:
        raise Unsupported(
            f"'{uri}' is another machine, and virtcard runs where the virtual machine runs.",
            hint="Run virtcard there, for example over ssh.",
        )
    if qemu:
        return "session" if parts.path == "/session" else "system"
    raise InvalidArgument(
        f"virtcard does not serve the libvirt URI '{uri}'.", hint="Use --connect qemu:///system or qemu:///session."
    )


def _agreed(bus: Bus, place: str | None) -> Bus:
    if place is not None and place != bus:
        raise InvalidArgument(f"--connect means the {bus} bus, and --{place} another.", hint="Give only one of them.")
    return bus


class Choice:
    """The chosen bus, decided when a verb asks: local verbs need none. Tests give an opener of their own."""

    def __init__(
        self,
        bus: Callable[[], Bus],
        opener: Callable[[Bus], AbstractContextManager[Door]] | None = None,
        *,
        is_given: bool = True,
    ) -> None:
        self.is_given = is_given
        """By an option, so that a verb which can serve both buses serves this one."""
        self._bus = bus
        self._opener = opener or _open

    @property
    def bus(self) -> Bus:
        """The bus to speak on."""
        return self._bus()

    def open(self) -> AbstractContextManager[Door]:
        """A client of virtcardd, to be used in a `with`."""
        return self._opener(self._bus())


def _open(bus: Bus) -> AbstractContextManager[Door]:
    from virtcard.bus.client import Client

    return Client.open(bus)
