"""Puts bridges and cards on record, from what their views show."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from virtcard.service.record import Event, Record, Recorder, in_words
from virtcard.service.registry import Registry
from virtcard.service.throttle import Throttle
from virtcard.service.views import BridgeState, BridgeView, Counts

Key = tuple[UUID, int]


@dataclass(slots=True)
class _Open:
    """A bridge of which something is on record that has not come to its end."""

    started: bool = False
    source: str = ""
    """The card that the guest has, or ""."""
    before: Counts = field(default_factory=Counts)
    """What was counted when it was put in."""


class Diary:
    """Listens to the registry; lives on its thread.

    A bridge is on record when its virtual machine answers, and a card when the guest has it."""

    def __init__(self, registry: Registry, record: Recorder, throttle: Throttle | None = None) -> None:
        self._registry = registry
        self._record = record
        self._throttle = throttle or Throttle()
        self._open: dict[Key, _Open] = {}
        registry.bridges.listen(self._follow)

    def _follow(self, key: Key, old: BridgeView | None, new: BridgeView | None) -> None:
        if new is None:
            if old is not None:
                self._end(key, old)
            return
        known = self._open.setdefault(key, _Open())
        if not known.started and new.state is not BridgeState.CONNECTING:
            known.started = True
            self._write(Event.BRIDGE_STARTED, new, f"The bridge of {self._name(new)} has started.")
        if old is not None and new.counts is not old.counts:
            self._watch(new, known.source or new.source, new.counts.since(old.counts))
        inserted = new.source if new.state is BridgeState.INSERTED else ""
        if known.source and inserted != known.source and new.state is not BridgeState.EJECTING:
            self._out(known, new)
        if inserted and not known.source:
            known.source, known.before = inserted, new.counts
            self._write(Event.INSERTED, new, f"{inserted} is in {self._name(new)}.", source=inserted)

    def _out(self, known: _Open, view: BridgeView) -> None:
        self._watch(view, known.source, Counts(), at_end=True)
        counts = view.counts.since(known.before)
        sentence = f"{known.source} is out of {self._name(view)}, after {in_words(counts)}."
        self._write(Event.EJECTED, view, sentence, source=known.source, counts=counts)
        known.source = ""

    def _end(self, key: Key, view: BridgeView) -> None:
        known = self._open.pop(key, _Open())
        if known.source:
            self._out(known, view)
        if known.started:
            sentence = f"The bridge of {self._name(view)} has ended, after {in_words(view.counts)}."
            self._write(Event.BRIDGE_ENDED, view, sentence, counts=view.counts)

    def _watch(self, view: BridgeView, source: str, added: Counts, *, at_end: bool = False) -> None:
        """What a guest does that it should not. It can do so as fast as it likes."""
        name = self._name(view)
        if times := self._due(Event.PIN_FAILED, view, added.pin_failures, at_end=at_end):
            wrong = "a wrong PIN" if times == 1 else f"{times} wrong PINs"
            sentence = f"{name} sent {wrong} to {source or 'a card'}."
            self._write(Event.PIN_FAILED, view, sentence, source=source, counts=Counts(pin_failures=times))
        if times := self._due(Event.PIN_STOPPED, view, added.pin_stops, at_end=at_end):
            stopped = "a PIN" if times == 1 else f"{times} PINs"
            sentence = f"The PIN guard kept {stopped} of {name} from {source or 'a card'}."
            self._write(Event.PIN_STOPPED, view, sentence, source=source, counts=Counts(pin_stops=times))
        if times := self._due(Event.REFUSED, view, added.refused - added.pin_stops, at_end=at_end):
            kept = "a command" if times == 1 else f"{times} commands"
            sentence = f"The guard kept {kept} of {name} from {source or 'a card'}."
            self._write(Event.REFUSED, view, sentence, source=source, counts=Counts(refused=times))

    def _due(self, event: Event, view: BridgeView, times: int, *, at_end: bool) -> int:
        subject = (event, view.uuid, view.slot)
        return self._throttle.forget(subject) if at_end else self._throttle.happened(subject, times)

    def _name(self, view: BridgeView) -> str:
        domain = self._registry.domains.get(view.uuid)
        return domain.name if domain else str(view.uuid)

    def _write(
        self, event: Event, view: BridgeView, sentence: str, *, source: str | None = None, counts: Counts | None = None
    ) -> None:
        given = view.source if source is None else source
        self._record(Record(event, sentence, view.uuid, self._name(view), given, counts=counts))
