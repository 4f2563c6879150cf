"""QEMU behind libvirt: its version, what it can, and its monitor."""

from __future__ import annotations

import socket
from collections.abc import Callable
from uuid import UUID

import libvirt
import libvirt_qemu

from virtcard.domain.failure import ErrorCode
from virtcard.domain.hotplug import Command, Reply, read_reply
from virtcard.domain.libvirt.connection import Connection
from virtcard.domain.libvirt.raised import code_of
from virtcard.domain.probe import BARE, WITH_CARD, WITH_EMULATED_CARD, WITH_SPICE_CARD
from virtcard.errors import Disconnected, Unsupported


class Qemu(Connection):
    """A connection whose QEMU can be asked."""

    def versions(self) -> tuple[str, str]:
        """Of libvirt and of its QEMU; "" for what is not known, or for another driver's hypervisor."""
        connection = self._open_connection()
        return _version(connection.getLibVersion), _version(connection.getVersion) if _is_qemu(connection) else ""

    def monitor(self, uuid: UUID, command: Command, passed: socket.socket | None = None) -> Reply:
        """Send one command to QEMU's monitor, with a socket when it takes one. libvirt marks the domain as tainted.

        What QEMU refuses is in the reply; Unsupported where there is no monitor, or a libvirt before 8.2 for sockets,
        DomainStateError when the domain is off."""
        with self._translated():
            domain = self._domain(uuid)
            if not command.takes_socket or passed is None:
                return read_reply(libvirt_qemu.qemuMonitorCommand(domain, command.text, 0))
            send = getattr(libvirt_qemu, "qemuMonitorCommandWithFiles", None)
            if send is None:
                raise Unsupported("This libvirt cannot hand a socket to QEMU.", hint="libvirt 8.2 and later can.")
            answer, _ = send(domain, command.text, [passed.fileno()], 0)
            return read_reply(answer)

    def passthru_supported(self) -> bool | None:
        """Whether this QEMU has usb-ccid and ccid-card-passthru; None when the driver cannot tell.

        Domain capabilities do not show it (as of libvirt 12), so a minimal domain is translated to a command line."""
        return self._supports(WITH_CARD)

    def emulated_supported(self) -> bool | None:
        """The same for ccid-card-emulated."""
        return self._supports(WITH_EMULATED_CARD)

    def spice_supported(self) -> bool | None:
        """The same for SPICE, and smart cards over it."""
        return self._supports(WITH_SPICE_CARD)

    def _supports(self, probe: str) -> bool | None:
        if self._native(BARE) is not None:
            return None
        code = self._native(probe)
        return True if code is None else False if code == ErrorCode.CONFIG_UNSUPPORTED else None

    def _native(self, xml: str) -> int | None:
        """libvirt's error code for `xml` as a command line, None when it works; Disconnected."""
        try:
            self._open_connection().domainXMLToNative("qemu-argv", xml, 0)
        except libvirt.libvirtError as error:
            if isinstance(ours := self._error(error), Disconnected):
                raise ours from None
            return code_of(error)
        return None


def _version(ask: Callable[[], int]) -> str:
    """libvirt's way to write a version in a number: 1,000,000 x major + 1,000 x minor + release."""
    try:
        number = ask()
    except libvirt.libvirtError:
        return ""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _is_qemu(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.getType() == "QEMU")
    except libvirt.libvirtError:
        return False
