"""Every domain of a libvirt put back without virtcardd: for the time when virtcard leaves a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from virtcard import names
from virtcard.domain.deadline import in_time
from virtcard.domain.diff import diff
from virtcard.domain.events import HypervisorEvent
from virtcard.domain.libvirt import Hypervisor
from virtcard.domain.metadata import tags_of, wish_element
from virtcard.domain.plan import Plan, plan_disable
from virtcard.domain.record import DomainRecord
from virtcard.errors import TimedOut, VirtcardError
from virtcard.limits import PASS_LOOKS_MAX


@dataclass(frozen=True, slots=True)
class PutBack:
    """What became of one domain that had a virtual reader."""

    name: str
    diff: str
    pending: bool
    """It keeps its reader until it is off."""
    error: VirtcardError | None = None


def put_back_all(uri: str, *, dry_run: bool) -> Iterator[PutBack]:
    """Take the virtual readers out of all configurations, with the wishes. One that fails does not keep the others.

    LibvirtFailed and its kin when libvirt cannot be reached, TimedOut when it does not answer."""
    with _connected(uri) as hypervisor:
        for record in _records(hypervisor):
            if not record.persistent:
                continue
            try:
                plan = plan_disable(record.inactive_xml)
                if not dry_run:
                    _put_back(hypervisor, record, plan)
            except VirtcardError as error:
                yield PutBack(record.name, "", pending=False, error=error)
                continue
            if plan.changed:
                text = diff(record.inactive_xml, plan.xml, record.name)
                yield PutBack(record.name, text, record.running or record.managed_save)


@contextmanager
def _connected(uri: str) -> Iterator[Hypervisor]:
    hypervisor = Hypervisor(uri, _listen_to_nothing)
    try:
        in_time(hypervisor.open)
        yield hypervisor
    finally:
        with suppress(TimedOut):  # a connection that hangs ends with this process
            in_time(hypervisor.close)


def _records(hypervisor: Hypervisor) -> Iterator[DomainRecord]:
    """All domains, read a few at a time, each time with libvirt's patience."""
    listing = in_time(hypervisor.listing)
    for begin in range(0, len(listing.domains), PASS_LOOKS_MAX):
        yield from in_time(hypervisor.read, listing, begin, PASS_LOOKS_MAX)


def _listen_to_nothing(event: HypervisorEvent) -> None:
    """What happens meanwhile is of no interest."""
    del event


def _put_back(hypervisor: Hypervisor, record: DomainRecord, plan: Plan) -> None:
    if plan.changed:
        in_time(hypervisor.define, plan.xml)
    if any(names.WISH_NAMESPACE in (xml or "") for xml in (record.inactive_xml, record.live_xml)):
        tags = tags_of(record.inactive_xml)
        element = wish_element("", tags=tags) if tags else None
        set_wish = partial(
            hypervisor.set_metadata,
            uri=names.WISH_NAMESPACE,
            key=names.METADATA_KEY,
            live=record.running,
            config=True,
        )
        in_time(set_wish, record.uuid, element)
