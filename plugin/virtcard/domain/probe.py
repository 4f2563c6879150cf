"""Minimal domains to ask libvirt about smart cards without defining anything."""

from __future__ import annotations

from typing import Final

from lxml import etree

from virtcard.errors import InvalidXml

BARE: Final = """<domain type='qemu'><name>virtcard-probe</name><memory unit='MiB'>32</memory><os><type>hvm</type></os>
<devices><controller type='usb' model='qemu-xhci'/></devices></domain>"""
"""What every QEMU with USB can run."""

_CARD: Final = (
    "<smartcard mode='passthrough' type='unix'><source mode='bind' path='/nonexistent/probe.sock'/></smartcard>"
)
WITH_CARD: Final = BARE.replace("</devices>", f"{_CARD}</devices>")
"""The same with a virtual reader; libvirt refuses it when QEMU lacks ccid-card-passthru (qemu_validate.c)."""

WITH_EMULATED_CARD: Final = BARE.replace("</devices>", "<smartcard mode='host'/></devices>")
"""The same with a card that libcacard makes, which needs ccid-card-emulated."""

WITH_SPICE_CARD: Final = BARE.replace(
    "</devices>",
    "<graphics type='spice'><listen type='none'/></graphics><smartcard mode='passthrough' type='spicevmc'/></devices>",
)
"""The same with SPICE graphics, without a place to connect to, and a card over SPICE (qemu_validate.c)."""


def schema_probe(xml: str) -> str:
    """A domain with only the smart cards, ccid controllers and metadata of `xml`, which libvirt never defines.

    It has more virtual CPUs than it may have: the schema lets that pass, and libvirt refuses it right after,
    whatever the driver (domain_conf.c). So error 92 means that the parts themselves are at fault."""
    domain = _parse(xml)
    probe = etree.Element("domain", type="qemu")
    etree.SubElement(probe, "name").text = "virtcard-probe"
    etree.SubElement(probe, "memory").text = "1024"
    etree.SubElement(probe, "vcpu", current="2").text = "1"
    etree.SubElement(etree.SubElement(probe, "os"), "type").text = "hvm"
    devices = etree.SubElement(probe, "devices")
    devices.extend(domain.findall("devices/controller[@type='ccid']"))
    devices.extend(domain.findall("devices/smartcard"))
    probe.extend(domain.findall("metadata"))
    return etree.tostring(probe, encoding="unicode")


def uuid_of(xml: str) -> str:
    """The text of `<uuid>`, or ""; InvalidXml when `xml` is not well-formed."""
    return (_parse(xml).findtext("uuid") or "").strip()


def _parse(xml: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    try:
        return etree.fromstring(xml.encode(), parser)
    except etree.XMLSyntaxError:
        raise InvalidXml("The domain XML is not well-formed.") from None
