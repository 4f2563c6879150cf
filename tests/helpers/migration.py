"""Live migration between two private libvirtds."""

from __future__ import annotations

from contextlib import closing

import libvirt

from helpers.libvirtd import Libvirtd

PERSIST = libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE


def migrate(name: str, source: Libvirtd, target: Libvirtd, *, persist: bool = False) -> None:
    """Move a running domain, whose files lie in the directory of its libvirtd; libvirtError when it stays.

    With `persist` its configuration moves along."""
    with closing(source.open()) as here, closing(target.open()) as there:
        domain = here.lookupByName(name)
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
        xml = xml.replace(str(source.directory), str(target.directory))
        parameters = {libvirt.VIR_MIGRATE_PARAM_URI: "tcp://127.0.0.1", libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml}
        if persist:
            parameters[libvirt.VIR_MIGRATE_PARAM_PERSIST_XML] = xml
        domain.migrate3(there, parameters, libvirt.VIR_MIGRATE_LIVE | persist * PERSIST)
