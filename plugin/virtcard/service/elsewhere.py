"""Readers that virtcardd does not serve: their cards live in QEMU, behind TCP, or at a SPICE viewer."""

from __future__ import annotations

from virtcard.domain.model import parse_domain
from virtcard.domain.record import DomainRecord
from virtcard.domain.setup import Mode, ReaderSetup, Role, setup_of
from virtcard.domain.tcp import is_loopback
from virtcard.errors import DomainStateError


def require_bridged(record: DomainRecord) -> None:
    """DomainStateError when the reader of the running machine, or else of the configuration, is not bridged by us."""
    error = served_elsewhere(record)
    if error is not None:
        raise error


def served_elsewhere(record: DomainRecord) -> DomainStateError | None:
    """Who has the domain's card when it is not virtcardd, as the error of an insert; None when it is, or nobody."""
    reader = parse_domain(record.live_xml or record.inactive_xml).reader
    setup = ReaderSetup() if reader is None else setup_of(reader)
    if setup.mode is Mode.BRIDGE:
        return None
    if setup.mode.in_qemu:
        return DomainStateError(
            f"The card of {record.name} lives in QEMU (mode {setup.mode}): virtcardd puts none in and takes none out.",
            hint=f"To put cards in, run 'virtcard enable {record.name} --mode bridge', and power it off and on.",
        )
    if setup.mode is Mode.SPICE:
        return DomainStateError(
            f"The card of {record.name} comes over SPICE (mode spice): virtcardd puts none in and takes none out.",
            hint=f"Connect a viewer that shares smart cards, such as remote-viewer --spice-smartcard, or run "
            f"'virtcard connect URI SOURCE --domain {record.name}' with the URI of 'virsh domdisplay {record.name}'.",
        )
    return DomainStateError(
        f"The card of {record.name} comes over TCP (mode tcp): virtcardd puts none in and takes none out.",
        hint=_who_brings_it(setup),
    )


def _who_brings_it(setup: ReaderSetup) -> str:
    verb = "connect" if setup.role is Role.BIND else "listen"
    scheme = "tls" if setup.tls else "tcp"
    insecure = "" if setup.tls or is_loopback(setup.address) else " --insecure"
    return f"Run 'virtcard {verb} {scheme}://{setup.place} SOURCE{insecure}' where the card is."
