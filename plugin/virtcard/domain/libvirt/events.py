"""What libvirt tells of domains, as events of ours, on libvirt's event thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import libvirt
import libvirt_qemu

from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.domain.libvirt.reading import uuid_from
from virtcard.domain.viewers import EVENTS, read_event

log = logging.getLogger(__name__)

Listener = Callable[[HypervisorEvent], None]


class Ear:
    """The callbacks of one connection; they end with it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._callbacks: list[int] = []
        self._monitor_callback: int | None = None

    @property
    def hears_monitors(self) -> bool:
        """Events of QEMU's monitors come. No command is sent to one for it, so that no domain is tainted."""
        return self._monitor_callback is not None

    def listen(self, connection: libvirt.virConnect) -> None:
        """Register for everything that is of interest."""
        handlers = (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot),
            (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on_metadata),
        )
        for event, handler in handlers:
            self._callbacks.append(connection.domainEventRegisterAny(None, event, handler, None))
        with suppress(libvirt.libvirtError):  # other drivers than QEMU's have no monitor
            flags = libvirt_qemu.VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX
            register = libvirt_qemu.qemuMonitorEventRegister
            self._monitor_callback = register(connection, None, EVENTS, self._on_monitor, None, flags)

    def leave(self, connection: libvirt.virConnect) -> None:
        """Take all of that back; never raises."""
        callbacks, self._callbacks = self._callbacks, []
        monitor_callback, self._monitor_callback = self._monitor_callback, None
        if monitor_callback is not None:
            with suppress(libvirt.libvirtError):
                libvirt_qemu.qemuMonitorEventDeregister(connection, monitor_callback)
        for callback in callbacks:
            with suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)

    def tell(self, event: HypervisorEvent) -> None:
        """Hand an event over, whatever the listener makes of it."""
        try:
            self._listener(event)
        except Exception:
            log.exception("The listener failed on %s", event)

    def _on_monitor(
        self, _c: object, domain: libvirt.virDomain, name: str, _s: int, _u: int, details: str | None, _o: object
    ) -> None:
        if (viewer := read_event(name, details)) is not None:
            self.tell(HypervisorEvent(EventKind.VIEWER, uuid_from(domain), viewer=viewer))

    def _on_lifecycle(self, _c: object, domain: libvirt.virDomain, event: int, detail: int, _o: object) -> None:
        self.tell(HypervisorEvent(EventKind.LIFECYCLE, uuid_from(domain), event, detail))

    def _on_reboot(self, _c: object, domain: libvirt.virDomain, _opaque: object) -> None:
        self.tell(HypervisorEvent(EventKind.REBOOT, uuid_from(domain)))

    def _on_metadata(self, _c: object, domain: libvirt.virDomain, kind: int, uri: str | None, _o: object) -> None:
        self.tell(HypervisorEvent(EventKind.METADATA, uuid_from(domain), kind, namespace=uri or ""))
