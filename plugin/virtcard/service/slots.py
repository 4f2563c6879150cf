"""Which virtual readers of a running machine we serve: slot 0 is the one of the XML, others were hot-plugged."""

from __future__ import annotations

from virtcard.domain.hotplug import read_slots
from virtcard.domain.record import DomainRecord
from virtcard.domain.state import ReaderState, reader_state
from virtcard.errors import DomainStateError
from virtcard.service.elsewhere import require_bridged

GUEST_RUNS = frozenset({"running", "idle"})
"""virsh's words for a machine whose processors turn."""


def slots_of(record: DomainRecord, state: ReaderState) -> tuple[int, ...]:
    """The first of them is the one that a wish is for, and every call that names none."""
    xml = (0,) if record.running and state.bridged else ()
    return xml + read_slots(record.live_xml)


def chosen_slot(record: DomainRecord, slot: int | None) -> int:
    """The reader that a call is for; DomainStateError when there is none that virtcardd serves."""
    if slot is None:
        state = reader_state(record.inactive_xml, record.live_xml)
        slot = next(iter(slots_of(record, state)), 0)
    if slot == 0:
        require_bridged(record)
    elif slot not in read_slots(record.live_xml):
        raise DomainStateError(
            f"{record.name} has no reader in slot {slot}.", hint=f"'virtcard info {record.name}' shows its readers."
        )
    return slot


def require_insertable(record: DomainRecord, slot: int) -> None:
    """DomainStateError when the reader cannot take a card now."""
    if slot == 0:
        _require_live(record)
    if record.state not in GUEST_RUNS:
        raise DomainStateError(f"{record.name} is {record.state}.", hint=f"Run 'virsh resume {record.name}' first.")


def _require_live(record: DomainRecord) -> None:
    state = reader_state(record.inactive_xml, record.live_xml)
    if not state.in_live and not state.in_config:
        raise DomainStateError(
            f"{record.name} has no virtual reader.", hint=f"Run 'virtcard enable {record.name}', then start it."
        )
    if not record.running:
        raise DomainStateError(
            f"{record.name} is not running.", hint="Start it, or add --config to insert the card at every start."
        )
    if not state.in_live:
        raise DomainStateError(
            f"{record.name} runs without its virtual reader.",
            hint="The reader takes effect after the domain is fully powered off and started again.",
        )
