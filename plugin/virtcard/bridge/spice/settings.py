"""How a SPICE server is met."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event

from virtcard.bridge.spice.clients import Look
from virtcard.bridge.spice.security import SpiceSecurity


@dataclass(frozen=True, slots=True)
class SpiceSettings:
    """`look` asks QEMU's monitor who is there; without it nobody can know. An endpoint with TLS needs `security`."""

    password: bytes = field(default=b"", repr=False)
    look: Look | None = None
    take_over: bool = False
    """Whoever is there may be thrown out, once."""
    security: SpiceSecurity | None = None
    denied: Event = field(default_factory=Event, repr=False, compare=False)
    """Set when the server did not accept the password: somebody may know another one."""
