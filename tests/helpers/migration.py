"""Live migration between two private libvirtds."""

from __future__ import annotations

from contextlib import closing

import libvirt

from helpers.libvirtd import Libvirtd


def migrate(name: str, source: Libvirtd, target: Libvirtd) -> None:
    """Move a running domain, whose files lie in the directory of its libvirtd; libvirtError when it stays."""
    with closing(source.open()) as here, closing(target.open()) as there:
        domain = here.lookupByName(name)
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
        parameters = {
            libvirt.VIR_MIGRATE_PARAM_URI: "tcp://127.0.0.1",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml.replace(str(source.directory), str(target.directory)),
        }
        domain.migrate3(there, parameters, libvirt.VIR_MIGRATE_LIVE)
