"""What libvirt knows about one domain at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

STATE_WORDS = (
    "no state",
    "running",
    "idle",
    "paused",
    "in shutdown",
    "shut off",
    "crashed",
    "pmsuspended",
)
"""virsh's words, by virDomainState."""


@dataclass(frozen=True, slots=True)
class DomainRecord:
    """One domain. The XML stays out of the repr: read with VIR_DOMAIN_XML_SECURE, it may hold display passwords."""

    uuid: UUID
    name: str
    id: int
    """-1 when it has no QEMU."""
    state: str
    """virsh's word: "running", "paused", "shut off"..."""
    running: bool
    """It has a QEMU, even a paused or crashed one."""
    persistent: bool
    managed_save: bool
    """The next start restores a saved image, with the devices of the XML in that image."""
    inactive_xml: str = field(repr=False)
    """The configuration for the next start, with secrets: redefining without them would erase them."""
    live_xml: str | None = field(repr=False)
    """What runs now, without secrets; None when nothing runs."""


def state_word(state: int) -> str:
    """virsh's word for a virDomainState; "no state" for one that we do not know."""
    return STATE_WORDS[state] if 0 <= state < len(STATE_WORDS) else STATE_WORDS[0]
