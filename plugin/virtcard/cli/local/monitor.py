"""Asks the monitor of a libvirt domain, from this process, who is connected to its SPICE server."""

from __future__ import annotations

from virtcard.bridge.spice.clients import Session, parse_clients
from virtcard.domain.deadline import in_time
from virtcard.domain.hotplug import Command
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.record import DomainRecord
from virtcard.errors import Failed, NoSuchDomain

URIS = {"system": "qemu:///system", "session": "qemu:///session"}
"""By the bus that was chosen."""
QUERY = Command("query-spice", {})


class DomainMonitor:
    """Connects to libvirt when it is asked, and again when libvirt went away."""

    def __init__(self, uri: str, domain: str) -> None:
        self._hypervisor = Hypervisor(uri, lambda _event: None)
        self._domain = domain

    def clients(self) -> tuple[Session, ...]:
        """query-spice, after which libvirt calls the domain tainted. Any VirtcardError."""
        reply = in_time(self._hypervisor.monitor, self.record().uuid, QUERY)
        if reply.error:
            raise Failed(f"QEMU's monitor refuses query-spice: {reply.error}.")
        return parse_clients(reply.value)

    def record(self) -> DomainRecord:
        """The domain as it is now; NoSuchDomain."""
        if not self._hypervisor.alive:
            in_time(self._hypervisor.open)
        for record in in_time(self._hypervisor.records):
            if self._domain in {record.name, str(record.uuid), str(record.id)}:
                return record
        raise NoSuchDomain(f"There is no domain {self._domain}.", hint="See 'virsh list --all'.")
