"""Counters of all bridges since the daemon started: they outlive the bridges, so they never go back."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from virtcard.service.registry import Registry
from virtcard.service.views import BridgeState, BridgeView, Counts


class Totals:
    """Listens to the registry; lives on its thread. Bridges that are there already count with all that they had."""

    def __init__(self, registry: Registry) -> None:
        self.bridges = self.insertions = self.troubles = self.apdus = 0
        self.refused = self.pin_failures = self.pin_stops = self.errors = 0
        self.bytes_sent = self.bytes_received = 0
        self.commands: Counter[str] = Counter()
        for key, view in registry.bridges.items():
            self._follow(key, None, view)
        registry.bridges.listen(self._follow)

    def _follow(self, _key: tuple[UUID, int], old: BridgeView | None, new: BridgeView | None) -> None:
        if new is None:
            return  # its last counters came in a view of their own
        self.bridges += old is None
        self.apdus += new.apdus - (old.apdus if old else 0)
        was_in = old is not None and old.state is BridgeState.INSERTED
        self.insertions += new.state is BridgeState.INSERTED and not was_in
        self.troubles += bool(new.last_error) and (old is None or new.last_error != old.last_error)
        before = old.counts if old else Counts()
        if new.counts is not before:
            self._add(new.counts.since(before))

    def _add(self, counts: Counts) -> None:
        self.commands.update(counts.commands)
        self.refused += counts.refused
        self.pin_failures += counts.pin_failures
        self.pin_stops += counts.pin_stops
        self.errors += counts.errors
        self.bytes_sent += counts.bytes_sent
        self.bytes_received += counts.bytes_received
