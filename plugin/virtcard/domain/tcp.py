"""What keeps a reader over TCP from working, or from being safe. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from virtcard.domain.finding import Finding, Severity
from virtcard.domain.model import DomainModel
from virtcard.domain.setup import Mode, ReaderSetup, Role

_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?", re.ASCII)
_PORT_MAX: Final = 65_535
_PRIVILEGED: Final = 1024


def tcp_findings(setup: ReaderSetup) -> Iterator[Finding]:
    """What is wrong with the address, the port and the safety as they were asked for."""
    if setup.mode is not Mode.TCP:
        return
    if not _is_host(setup.address):
        yield _error(
            "tcp-address",
            f"{setup.address[:64]!r} is neither an IP address nor a host name.",
            "An IPv6 address is written without a scope.",
        )
    if not 0 < setup.port <= _PORT_MAX:
        wrong = f"{setup.port} is not a port." if setup.port else "The mode tcp needs a port, and none was said."
        yield _error("tcp-port", wrong, "A port is a number from 1 to 65535.")
    elif setup.listens and setup.port < _PRIVILEGED:
        yield _error("tcp-port", f"QEMU may not listen on port {setup.port}.", "Choose a port of 1024 or more.")
    if not setup.tls and not is_loopback(setup.address):
        yield _plain(setup)


def port_findings(setup: ReaderSetup, model: DomainModel, users: tuple[str, ...]) -> Iterator[Finding]:
    """Who else listens on the port: `users` are other domains."""
    if not setup.listens:
        return
    own = ("another device of the domain",) if setup.port in model.tcp_ports else ()
    if users or own:
        yield _error(
            "tcp-port-used",
            f"Port {setup.port} is used by {', '.join((*users, *own))} too, so that the domain would not start.",
            "Choose another port.",
        )


def tls_findings(setup: ReaderSetup, missing: tuple[str, ...], unshown: tuple[str, ...]) -> Iterator[Finding]:
    """TLS files that libvirt tells QEMU to read, and that are not there; without those of `unshown` it is nobody."""
    if setup.tls and missing:
        side = "server" if setup.role is Role.BIND else "client"
        yield _error(
            "tls-files",
            f"{missing[0]} is missing, without which QEMU does not start with TLS.",
            f"Make the {side}'s certificate there, or set chardev_tls_x509_cert_dir in libvirt's qemu.conf.",
        )
    elif setup.tls and unshown:
        yield Finding(
            Severity.WARNING,
            "tls-nobody",
            f"{unshown[0]} is missing, so that QEMU has no certificate to show, without which 'virtcard listen' takes "
            "nobody.",
            "Make the client's certificate there, on every host that the machine may migrate to.",
        )


def is_loopback(host: str) -> bool:
    """What is sent there stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


def _is_host(host: str) -> bool:
    try:
        return not getattr(ip_address(host), "scope_id", None)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None and not host.replace(".", "").isdigit()


def _plain(setup: ReaderSetup) -> Finding:
    message = f"Plain TCP with {setup.place} carries PINs in clear, and whoever gets there first is the card."
    if setup.insecure:
        return Finding(Severity.WARNING, "tcp-plain", message, "Use TLS, or an address of the loopback device.")
    return _error(
        "tcp-plain", message, "Use TLS, or an address of the loopback device; or say --insecure if you mean it."
    )


def _error(code: str, message: str, hint: str) -> Finding:
    return Finding(Severity.ERROR, code, message, hint)
