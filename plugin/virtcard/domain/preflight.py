"""What libvirt lets anybody define and QEMU refuses at the next start, found before the XML is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from virtcard.domain.emulated import NssFacts, certificate_findings, nss_findings
from virtcard.domain.existing import OnExisting, existing_findings, on_existing_of
from virtcard.domain.finding import Finding, Severity
from virtcard.domain.model import CcidAddress, DomainModel
from virtcard.domain.setup import BRIDGE, Mode, ReaderSetup
from virtcard.domain.spice import spice_findings
from virtcard.domain.tcp import port_findings, tcp_findings, tls_findings
from virtcard.domain.usb import usb_findings
from virtcard.limits import UNIX_PATH_MAX

_QEMU_TYPES: Final = ("qemu", "kvm", "hvf", "test")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What only the host knows. `…_supported` is None when QEMU could not be asked, `nss` when nobody looked."""

    socket_path: str
    socket_dir_exists: bool = True
    passthru_supported: bool | None = None
    path_users: tuple[str, ...] = ()
    """Names of other domains whose XML, inactive or live, holds the socket path."""
    persistent: bool = True
    managed_save: bool = False
    emulated_supported: bool | None = None
    nss: NssFacts | None = None
    port_users: tuple[str, ...] = ()
    """Names of other domains whose QEMU listens on the TCP port."""
    tls_missing: tuple[str, ...] = ()
    """TLS files that are not there."""
    tls_unshown: tuple[str, ...] = ()
    """Those without which QEMU calls as nobody."""
    spice_supported: bool | None = None
    spice_subtypes: tuple[str, ...] | None = None
    """What spice-server carries for QEMU, None when nobody asked."""


def check(
    model: DomainModel,
    host: HostFacts,
    *,
    on_existing: OnExisting | str = OnExisting.KEEP,
    setup: ReaderSetup = BRIDGE,
) -> tuple[Finding, ...]:
    """All that would keep the domain from starting with a virtual reader, and what is good to know. Errors first."""
    word = on_existing_of(on_existing)
    found = [
        *setup_findings(setup),
        *_domain(model, host, setup),
        *existing_findings(model, word),
        *(() if word is OnExisting.REPLACE else _address(model)),
        *usb_findings(model),
        *_mode(model, host, setup),
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.ERROR))


def setup_findings(setup: ReaderSetup) -> tuple[Finding, ...]:
    """What is wrong with the setup alone, whatever the domain and the host."""
    return (*certificate_findings(setup), *tcp_findings(setup))


def errors(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those that forbid the change."""
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)


def _domain(model: DomainModel, host: HostFacts, setup: ReaderSetup) -> Iterator[Finding]:
    if model.type not in _QEMU_TYPES:
        yield _error(
            "domain-type",
            f"The domain is of type '{model.type}'; only QEMU has virtual smart card readers.",
            "Use a domain of type kvm or qemu.",
        )
    if (host.emulated_supported if setup.mode.in_qemu else host.passthru_supported) is False:
        emulator = model.emulator or "The domain's QEMU"
        device = "ccid-card-emulated" if setup.mode.in_qemu else "ccid-card-passthru"
        yield _error(
            "qemu-without-ccid",
            f"{emulator} has no {device} device.",
            "Install QEMU's USB smart card module (Fedora: qemu-device-usb-smartcard; Debian: qemu-system-common).",
        )
    if not host.persistent:
        yield _error(
            "transient",
            "The domain is transient: libvirt would make it persistent if it were redefined.",
            "Start it from XML that has gone through virtcard inject-xml.",
        )
    if host.managed_save:
        yield Finding(
            Severity.WARNING,
            "managed-save",
            "The domain has a saved state, which it will be restored from without the change.",
            "The change takes effect after virsh managedsave-remove, or after the next full power off.",
        )


def _address(model: DomainModel) -> Iterator[Finding]:
    """QEMU's usb-ccid has one slot, and libvirt allows one card (qemu_validate.c): ours is written to 0/0."""
    kept = model.foreign
    if kept is not None and kept.address not in (None, CcidAddress(0, 0)):
        yield _error(
            "smartcard-address",
            "The domain's smart card device is not in slot 0 of CCID controller 0, the only place libvirt takes.",
            "Correct its <address type='ccid' controller='0' slot='0'/> with virsh edit.",
        )


def _mode(model: DomainModel, host: HostFacts, setup: ReaderSetup) -> Iterator[Finding]:
    if setup.mode is Mode.BRIDGE:
        yield from _socket(host)
    elif setup.mode is Mode.TCP:
        yield from port_findings(setup, model, host.port_users)
        yield from tls_findings(setup, host.tls_missing, host.tls_unshown)
    elif setup.mode is Mode.SPICE:
        yield from spice_findings(model, host.spice_supported, host.spice_subtypes)
    elif host.nss is not None:
        yield from nss_findings(setup, host.nss)


def _socket(host: HostFacts) -> Iterator[Finding]:
    directory = os.path.dirname(host.socket_path)
    if not host.socket_dir_exists:
        yield _error(
            "socket-dir-missing",
            f"The directory {directory} does not exist, so QEMU could not listen there.",
            "Run systemd-tmpfiles --create virtcard.conf, or restart virtcardd.",
        )
    length = len(os.fsencode(host.socket_path))
    if length > UNIX_PATH_MAX:
        yield _error(
            "socket-path-long",
            f"The socket path is {length} bytes long; Linux takes {UNIX_PATH_MAX}.",
            "Use a shorter socket directory.",
        )
    if host.path_users:
        yield _error(
            "socket-path-used",
            f"The socket {host.socket_path} is used by {', '.join(host.path_users)} too; the second start steals it.",
            "Disable the virtual reader there, and enable it again: each domain has a socket of its own.",
        )


def _error(code: str, message: str, hint: str) -> Finding:
    return Finding(Severity.ERROR, code, message, hint)
