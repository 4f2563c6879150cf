"""What libvirt tells about domains, as data. The numbers are libvirt's own (libvirt-domain.h)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from uuid import UUID

from virtcard.domain.viewers import ViewerEvent


class EventKind(StrEnum):
    """What kind of thing happened; it says how to read `HypervisorEvent.event`."""

    LIFECYCLE = "lifecycle"
    """`event` is a Lifecycle, and `detail` libvirt's reason for it: those that we act by have an enum."""
    REBOOT = "reboot"
    """The guest was reset; three of them come for one virDomainReset."""
    METADATA = "metadata"
    """`namespace` is the URI whose element was set or removed, in the live or the inactive XML."""
    VIEWER = "viewer"
    """`viewer` says what a client of the SPICE server did."""
    CLOSED = "closed"
    """The connection is gone; `event` is libvirt's reason. Comes once, and no event follows it."""


class Lifecycle(IntEnum):
    """virDomainEventType."""

    DEFINED = 0
    UNDEFINED = 1
    STARTED = 2
    SUSPENDED = 3
    RESUMED = 4
    STOPPED = 5
    SHUTDOWN = 6
    PMSUSPENDED = 7
    CRASHED = 8


class Resumed(IntEnum):
    """virDomainEventResumedDetailType."""

    UNPAUSED = 0
    """Also of every ordinary start, where it comes before STARTED."""
    MIGRATED = 1
    FROM_SNAPSHOT = 2
    POSTCOPY = 3
    POSTCOPY_FAILED = 4


class Stopped(IntEnum):
    """virDomainEventStoppedDetailType."""

    SHUTDOWN = 0
    DESTROYED = 1
    CRASHED = 2
    MIGRATED = 3
    SAVED = 4
    FAILED = 5
    """QEMU was killed or crashed, or an incoming migration failed."""
    FROM_SNAPSHOT = 6


@dataclass(frozen=True, slots=True)
class HypervisorEvent:
    """One event. `uuid` is None for CLOSED; numbers that we do not know stay plain ints."""

    kind: EventKind
    uuid: UUID | None
    event: int = 0
    detail: int = 0
    namespace: str = ""
    viewer: ViewerEvent | None = None


def ends_login(event: HypervisorEvent) -> bool:
    """Whoever logged in to a card from the machine may not be there any more, and the card does not see it.

    A reset, a stop, a pause, a revert, a migration, a crash; and what libvirt may come to tell of later.
    """
    if event.kind is EventKind.REBOOT:
        return True
    return event.kind is EventKind.LIFECYCLE and event.event not in (Lifecycle.DEFINED, Lifecycle.UNDEFINED)


def came_in(event: HypervisorEvent) -> bool:
    """The machine goes on from a state that was loaded into its QEMU: it was migrated, restored or set back.

    What was said to that QEMU before counts no more: its virtual readers are as they were in the other one, with a card
    in them that is not here.
    """
    goes_on = event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.RESUMED
    return goes_on and event.detail != Resumed.UNPAUSED
