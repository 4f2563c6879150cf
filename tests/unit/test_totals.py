"""Counters of all bridges: each thing once, and nothing lost when a bridge ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from helpers.fake_service import FEDORA, WIN11, bridge_view
from virtcard.card.audit import Counts
from virtcard.service.registry import Registry
from virtcard.service.totals import Totals
from virtcard.service.views import BridgeState, BridgeView

KEY = (WIN11, 0)
FRESH = replace(bridge_view(), source="", state=BridgeState.CONNECTING, apdus=0)


def put(registry: Registry, view: BridgeView, **changes: Any) -> BridgeView:
    changed = replace(view, **changes)
    registry.bridges.put((changed.uuid, changed.slot), changed)
    return changed


def test_what_is_there_already_counts() -> None:
    registry = Registry()
    put(registry, FRESH, apdus=7, state=BridgeState.INSERTED)
    totals = Totals(registry)
    assert (totals.bridges, totals.insertions, totals.apdus) == (1, 1, 7)


def test_counters_grow_by_what_was_added() -> None:
    registry = Registry()
    totals = Totals(registry)
    view = put(registry, FRESH)
    view = put(registry, view, apdus=3, counts=Counts({"SELECT": 3}, refused=1, bytes_sent=30, bytes_received=6))
    put(registry, view, apdus=5, counts=Counts({"SELECT": 4, "VERIFY": 1}, 1, 1, 1, 50, 10, 1))
    assert (totals.apdus, totals.refused, totals.pin_failures, totals.errors, totals.pin_stops) == (5, 1, 1, 1, 1)
    assert (totals.bytes_sent, totals.bytes_received) == (50, 10)
    assert totals.commands == {"SELECT": 4, "VERIFY": 1}


def test_a_bridge_that_ended_stays_counted() -> None:
    registry = Registry()
    totals = Totals(registry)
    put(registry, FRESH, apdus=5, counts=Counts({"SELECT": 5}))
    registry.bridges.drop(KEY)
    put(registry, FRESH, uuid=FEDORA, apdus=2, counts=Counts({"SELECT": 2}))
    assert (totals.bridges, totals.apdus, totals.commands["SELECT"]) == (2, 7, 7)


def test_an_insertion_counts_once_however_often_it_is_shown() -> None:
    registry = Registry()
    totals = Totals(registry)
    view = put(registry, FRESH, state=BridgeState.INSERTED)
    view = put(registry, view, apdus=1)
    put(registry, put(registry, view, state=BridgeState.EJECTING), state=BridgeState.INSERTED)
    assert totals.insertions == 2


def test_an_error_counts_when_it_comes_and_not_while_it_stands() -> None:
    registry = Registry()
    totals = Totals(registry)
    view = put(registry, FRESH, last_error="The card does not answer.")
    view = put(registry, view, state=BridgeState.EMPTY)
    put(registry, put(registry, view, last_error=""), last_error="The card was pulled.")
    assert totals.troubles == 2
