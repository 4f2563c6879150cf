"""Domains as libvirt has them, and as records."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import libvirt

from virtcard.domain.record import DomainRecord, state_word

INACTIVE_SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


@dataclass(frozen=True, slots=True)
class Listing:
    """Which domains there were at one moment, and which of them were persistent or saved."""

    domains: tuple[libvirt.virDomain, ...]
    persistent: frozenset[bytes]
    saved: frozenset[bytes]

    @property
    def uuids(self) -> set[UUID]:
        """Those of all domains."""
        return {uuid_from(domain) for domain in self.domains}


def uuid_from(domain: libvirt.virDomain) -> UUID:
    """That of a domain."""
    return UUID(bytes=domain.UUID())


def ids_of(connection: libvirt.virConnect, flags: int) -> frozenset[bytes]:
    """UUIDs of the domains that `flags` (virConnectListAllDomainsFlags) choose: one call, not one per domain."""
    return frozenset(domain.UUID() for domain in connection.listAllDomains(flags))


def read_domain(domain: libvirt.virDomain, persistent: bool, managed_save: bool) -> DomainRecord:
    """What libvirt knows of a domain now."""
    state = domain.state()[0]
    running = state != libvirt.VIR_DOMAIN_SHUTOFF and bool(state != libvirt.VIR_DOMAIN_CRASHED or domain.isActive())
    return DomainRecord(
        uuid=uuid_from(domain),
        name=domain.name(),
        id=domain.ID() if running else -1,
        state=state_word(state),
        running=running,
        persistent=persistent,
        managed_save=managed_save,
        inactive_xml=domain.XMLDesc(INACTIVE_SECURE),
        live_xml=domain.XMLDesc(0) if running else None,
    )
