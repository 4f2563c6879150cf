"""Readers for machines that run: made and taken away over QEMU's monitor, where the policy permits it.

What exists stands in the live metadata, so that it is read back after a restart. It is written before a reader is made
and after one was removed: what a crash leaves behind half made is on the list, and can be taken away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from virtcard import limits
from virtcard.domain.finding import Finding, Severity
from virtcard.domain.hotplug import (
    SLOTS,
    Command,
    HotReader,
    Plugged,
    next_instance,
    read_readers,
    read_slots,
)
from virtcard.domain.model import DomainModel, parse_domain
from virtcard.domain.record import DomainRecord
from virtcard.domain.usb import free_places
from virtcard.errors import Busy, DomainStateError, Failed, PolicyDenied, PreflightFailed, Unsupported, VirtcardError
from virtcard.names import hotplug_socket_name
from virtcard.policy.decide import Request
from virtcard.policy.model import Monitor
from virtcard.service.link import Link
from virtcard.service.making import Making, note, take_off
from virtcard.service.permits import Permits


@dataclass(frozen=True, slots=True)
class Hotplug:
    """The caller holds the domain's turn."""

    link: Link
    permits: Permits
    directory: Path
    """Of the sockets, ours alone: QEMU is handed each one, and needs no right here."""
    supported: Callable[[], bool | None]
    """QEMU has the devices; None when nobody knows."""

    def path(self, uuid: UUID, slot: int) -> str:
        """Where QEMU listens for a hot-plugged reader."""
        return str(self.directory / hotplug_socket_name(uuid, slot))

    def forget(self, uuid: UUID, slot: int) -> None:
        """The reader is gone with its machine; QEMU removes its socket only when it ends in order."""
        with suppress(OSError):
            Path(self.path(uuid, slot)).unlink(missing_ok=True)

    async def plug(self, record: DomainRecord, request: Request) -> int:
        """Give the running machine one more reader; its slot. Errors leave everything as it was, but for one: a call to
        libvirt that takes too long goes on by itself, and what comes of it is on the list."""
        self._require_permit(request)
        slot, model = self._check(record)
        places, before = free_places(model), read_readers(record.live_xml)
        plugged = Plugged(places[0], next_instance(before, model))
        making = Making(record.uuid, slot, places, plugged, Path(self.path(record.uuid, slot)))
        try:
            await self._note(record.uuid, {**before, slot: plugged})
            making.bind()
            await self.link.call(making)
        except BaseException:
            if making.abandon():
                with suppress(VirtcardError):
                    await self._note(record.uuid, before)
            raise
        return slot

    def lost(self, record: DomainRecord) -> tuple[int, ...]:
        """Readers that came with the machine, restored or migrated, and have nothing behind them; as they were made."""
        readers = read_readers(record.live_xml)
        found = (slot for slot in readers if not Path(self.path(record.uuid, slot)).exists())
        return tuple(sorted(found, key=lambda slot: readers[slot].instance))

    def may_plug(self, request: Request) -> bool:
        """A rule says so."""
        return self.permits.monitor(request) is Monitor.HOTPLUG

    async def unplug(self, record: DomainRecord, slot: int) -> None:
        """Take one reader away; its bridge has ended. One that is not there any more is no error."""
        reader, uuid = HotReader(slot), record.uuid
        await self._remove(uuid, reader.remove_reader())
        await self._remove(uuid, reader.remove_chardev())
        self.forget(uuid, slot)
        await self.link.call(lambda hypervisor: take_off(hypervisor, uuid, slot))

    def _require_permit(self, request: Request) -> None:
        if not self.may_plug(request):
            raise PolicyDenied(
                f"The policy does not let virtcardd give {request.name} a reader while it runs.",
                hint='A rule for it must say monitor = "hotplug"; without --hotplug the reader comes at a cold start.',
            )

    def _check(self, record: DomainRecord) -> tuple[int, DomainModel]:
        """Slot of the next reader, and the machine that has a USB port for it."""
        if not record.running or record.live_xml is None:
            raise DomainStateError(
                f"{record.name} is not running.",
                hint=f"'virtcard enable {record.name}' gives it a reader at its start.",
            )
        if self.supported() is False:
            raise Unsupported(
                "This QEMU has no smart card devices.",
                hint="They are in Debian's qemu-system-common and Fedora's qemu-device-usb-smartcard.",
            )
        if not self.directory.is_dir():
            raise PreflightFailed(
                f"The directory {self.directory} is missing.", hint="Run systemd-tmpfiles --create, or start virtcardd."
            )
        slot = next((slot for slot in SLOTS if slot not in read_slots(record.live_xml)), None)
        if slot is None:
            raise Busy(
                f"{record.name} has {limits.HOTPLUG_MAX} hot-plugged readers, and more are not given.",
                hint=f"Take one away: virtcard disable {record.name} --hotplug --slot 1",
            )
        model = parse_domain(record.live_xml)
        if not free_places(model):
            raise PreflightFailed(
                f"{record.name} has no free USB port for a full-speed device like a reader.",
                hint="Use a controller like <controller type='usb' model='qemu-xhci' ports='15'/>.",
            )
        return slot, model

    async def _note(self, uuid: UUID, readers: Mapping[int, Plugged]) -> None:
        await self.link.call(lambda hypervisor: note(hypervisor, uuid, readers))

    async def _remove(self, uuid: UUID, command: Command) -> None:
        """Until QEMU has done it: a device goes a moment after it was removed, and its chardev is busy until then."""
        deadline = time.monotonic() + limits.HOTPLUG_PATIENCE
        while True:
            reply = await self.link.call(lambda hypervisor: hypervisor.monitor(uuid, command))
            if not reply.error or "not found" in reply.error:
                return
            if time.monotonic() > deadline:
                raise Failed(f"QEMU does not take the reader away: {reply.error}.", hint="Try again.")
            await asyncio.sleep(limits.HOTPLUG_LOOK)


def warnings(name: str) -> tuple[Finding, ...]:
    """What a reader costs of which libvirt knows nothing."""
    return (
        Finding(
            Severity.WARNING,
            "not-savable",
            f"While {name} has a hot-plugged reader, libvirt cannot migrate it, and what it saves of it (save, "
            "managed save, snapshots) cannot be restored, unless libvirt has virtcard's hook.",
            f"Run 'virtcard prepare-migrate {name}' before, or install contrib/hooks/virtcard.py.",
        ),
        Finding(
            Severity.WARNING,
            "tainted",
            f"libvirt calls {name} tainted (custom monitor control commands issued) until it is powered off.",
        ),
    )
