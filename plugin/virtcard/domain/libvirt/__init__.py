"""The only room that imports libvirt: one connection, its events, its domains.

Calls are synchronous and belong on one worker thread (worker.py); the listener is called on the event thread.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import libvirt

from virtcard.domain.failure import ErrorCode
from virtcard.domain.libvirt.qemu import Qemu
from virtcard.domain.libvirt.raised import code_of
from virtcard.domain.libvirt.reading import Listing, ids_of, read_domain, uuid_from
from virtcard.domain.probe import schema_probe, uuid_of
from virtcard.domain.record import DomainRecord
from virtcard.errors import InvalidXml, NoSuchDomain

LEFT_OUT = (ErrorCode.NO_DOMAIN, ErrorCode.ACCESS_DENIED)
"""One domain that is gone, or closed to us by libvirt's access rules, must not hide the others."""


class Hypervisor(Qemu):
    """One libvirt connection, with its domains."""

    def domain_uuids(self) -> list[UUID]:
        """All domains, running or not."""
        with self._translated():
            return [uuid_from(domain) for domain in self._open_connection().listAllDomains(0)]

    def record(self, uuid: UUID) -> DomainRecord:
        """One domain as it is now; NoSuchDomain."""
        with self._translated():
            domain = self._domain(uuid)
            return read_domain(domain, bool(domain.isPersistent()), bool(domain.hasManagedSaveImage()))

    def listing(self) -> Listing:
        """All domains, to be read a few at a time."""
        with self._translated():
            connection = self._open_connection()
            return Listing(
                tuple(connection.listAllDomains(0)),
                ids_of(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
                ids_of(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
            )

    def read(self, listing: Listing, begin: int = 0, count: int | None = None) -> list[DomainRecord]:
        """Domains of a listing that this user may read, `count` from `begin` on; one that has vanished is left out."""
        found = []
        with self._translated():
            for domain in listing.domains[begin : None if count is None else begin + count]:
                try:
                    uuid = domain.UUID()
                    found.append(read_domain(domain, uuid in listing.persistent, uuid in listing.saved))
                except libvirt.libvirtError as error:
                    if code_of(error) not in LEFT_OUT:
                        raise
        return found

    def records(self) -> list[DomainRecord]:
        """All domains that this user may read."""
        return self.read(self.listing())

    def define(self, xml: str) -> None:
        """Redefine a domain, checked against libvirt's schema first.

        Parts of the user's own XML that never followed the schema are let through, ours are not. InvalidXml,
        Unsupported (two cards, USB switched off, QEMU without the devices) and LibvirtFailed come with a sentence."""
        connection = self._open_connection()
        try:
            connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            if code_of(error) != ErrorCode.XML_INVALID_SCHEMA or not self._was_invalid_before(xml):
                raise self._error(error) from None
            with self._translated():
                connection.defineXMLFlags(xml, 0)

    def set_metadata(self, uuid: UUID, xml: str | None, *, uri: str, key: str, live: bool, config: bool) -> None:
        """Set, or with None remove, the metadata element of the namespace `uri`, with the prefix `key`.

        `live` needs a running domain and `config` a persistent one, else DomainStateError; neither means
        whatever there is now. Malformed `xml` is InvalidXml."""
        flags = live * libvirt.VIR_DOMAIN_AFFECT_LIVE | config * libvirt.VIR_DOMAIN_AFFECT_CONFIG
        with self._translated():
            self._domain(uuid).setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, key, uri, flags)

    def _was_invalid_before(self, xml: str) -> bool:
        """Whether `xml` is that of a domain that exists, and what is ours in it follows the schema."""
        with suppress(InvalidXml, ValueError, NoSuchDomain), self._translated():
            self._domain(UUID(uuid_of(xml)))
            return not self._schema_refuses(schema_probe(xml))
        return False

    def _schema_refuses(self, probe: str) -> bool:
        try:
            self._open_connection().defineXMLFlags(probe, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            return code_of(error) == ErrorCode.XML_INVALID_SCHEMA
        return False
