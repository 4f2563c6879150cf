"""What goes on record: who did what with which card and which domain. Never what a command carries."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from virtcard import names
from virtcard.card.audit import Counts


class Event(StrEnum):
    """What happened; each has a MESSAGE_ID in `names`."""

    BRIDGE_STARTED = "bridge-started"
    BRIDGE_ENDED = "bridge-ended"
    INSERTED = "inserted"
    EJECTED = "ejected"
    ADMITTED = "admitted"
    """A caller may drive the daemon: root, or by polkit."""
    TURNED_AWAY = "turned-away"
    """A caller may not."""
    DECIDED = "decided"
    """The policy has decided."""
    ASKED = "asked"
    ANSWERED = "answered"
    REFUSED = "refused"
    """The guard kept a command from the card."""
    PIN_FAILED = "pin-failed"
    PIN_STOPPED = "pin-stopped"
    """The guard kept a PIN from the card."""
    HEALED = "healed"
    """A virtual reader was stuck, and was freed over QEMU's monitor."""
    TRACE_STARTED = "trace-started"
    TRACE_ENDED = "trace-ended"


UNUSUAL = frozenset({Event.TURNED_AWAY, Event.REFUSED, Event.PIN_FAILED, Event.PIN_STOPPED})
"""Events that somebody may want to be warned of."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `rule` is "FILE:LINE"; "" means that there is none, or that it does not matter."""

    event: Event
    sentence: str
    uuid: UUID | None = None
    name: str = ""
    source: str = ""
    rule: str = ""
    user: str = ""
    reason: str = ""
    counts: Counts | None = None

    def fields(self) -> dict[str, str]:
        """Its fields in the journal, without those that are empty."""
        fields = {
            names.FIELD_EVENT: self.event.value,
            names.FIELD_DOMAIN: str(self.uuid) if self.uuid else "",
            names.FIELD_NAME: self.name,
            names.FIELD_SOURCE: self.source,
            names.FIELD_RULE: self.rule,
            names.FIELD_USER: self.user,
            names.FIELD_REASON: self.reason,
            **(_count_fields(self.counts) if self.counts else {}),
        }
        return {name: value for name, value in fields.items() if value}


Recorder = Callable[[Record], None]
"""Puts a record where records go. Never raises, never waits."""


def _count_fields(counts: Counts) -> dict[str, str]:
    return {
        names.FIELD_COMMANDS: json.dumps(counts.commands),
        names.FIELD_REFUSED: str(counts.refused),
        names.FIELD_PIN_FAILURES: str(counts.pin_failures),
        names.FIELD_PIN_STOPS: str(counts.pin_stops),
        names.FIELD_ERRORS: str(counts.errors),
        names.FIELD_BYTES_SENT: str(counts.bytes_sent),
        names.FIELD_BYTES_RECEIVED: str(counts.bytes_received),
    }


def in_words(counts: Counts) -> str:
    """ "12 commands, 2 wrong PINs, 3 refused": what there was, "no commands" for none."""
    number = sum(counts.commands.values())
    parts = [
        counted(number, "command") if number else "no commands",
        *([counted(counts.pin_failures, "wrong PIN")] if counts.pin_failures else []),
        *([f"{counts.errors} without an answer"] if counts.errors else []),
        *([f"{counts.refused} refused"] if counts.refused else []),
    ]
    return ", ".join(parts)


def counted(number: int, noun: str) -> str:
    """ "1 command", "2 commands"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
