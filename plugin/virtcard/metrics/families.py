"""Every metric: its name, what it tells, and where its values come from.

Labels are few, since each value of one is a time series that Prometheus keeps: a domain's UUID and name, the slot of
its reader, the name of a host reader, the name of an instruction, and words of our own.
"""

from __future__ import annotations

import os
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from virtcard.limits import METRICS_BRIDGES_MAX, METRICS_LABEL_MAX, METRICS_READERS_MAX
from virtcard.service.totals import Totals
from virtcard.service.views import BridgeState, BridgeView, DomainView, ReaderView, StatusView

POLICY_STATES: Final = ("ok", "degraded", "broken")
BRIDGE: Final = ("uuid", "domain", "slot")


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything at one time. The views are frozen, so another thread may read them."""

    status: StatusView
    domains: dict[UUID, DomainView]
    readers: tuple[ReaderView, ...]
    bridges: tuple[BridgeView, ...]


class Families:
    """A collector, as the client library wants it."""

    def __init__(self, moment: Moment, totals: Totals) -> None:
        self._moment = moment
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        """All metrics, in the order of the file."""
        yield from _daemon(self._moment.status)
        yield from _process()
        yield from _existing(self._moment)
        yield from _readers(self._moment.readers)
        yield from _totals(self._totals)
        yield from _bridges(self._moment)


def _daemon(status: StatusView) -> Iterator[Metric]:
    versions = {
        "version": status.version,
        "libvirt": status.libvirt_version,
        "qemu": status.qemu_version,
        "pcsc_lite": status.pcsc_version,
    }
    build = GaugeMetricFamily("virtcard_build_info", "Versions of virtcard and of what it uses.", labels=[*versions])
    build.add_metric([*versions.values()], 1)
    yield build
    yield _gauge("virtcard_start_time_seconds", "When virtcardd started.", status.started / 1e6)
    yield _gauge("virtcard_libvirt_connected", "1 while libvirt is reached.", status.libvirt == "connected")
    yield _gauge("virtcard_pcsc_connected", "1 while pcscd is reached.", status.pcsc == "connected")
    policy = GaugeMetricFamily("virtcard_policy_state", "1 for the state that the policy is in.", labels=["state"])
    for state in POLICY_STATES:
        policy.add_metric([state], status.policy == state)
    yield policy


def _process() -> Iterator[Metric]:
    """The library's own collector reads /proc/stat, which the unit of virtcardd hides (ProcSubset=pid)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    yield _gauge("virtcard_process_resident_memory_bytes", "Memory of virtcardd.", resident)
    seconds = usage.ru_utime + usage.ru_stime
    yield CounterMetricFamily("virtcard_process_cpu_seconds", "Processor time of virtcardd.", value=seconds)
    yield _gauge("virtcard_process_open_fds", "File descriptors of virtcardd.", len(os.listdir("/proc/self/fd")))
    yield _gauge("virtcard_process_threads", "Threads of virtcardd.", threading.active_count())


def _existing(moment: Moment) -> Iterator[Metric]:
    domains = moment.domains.values()
    yield _gauge("virtcard_domains", "Domains that libvirt knows.", len(domains))
    yield _gauge("virtcard_domains_enabled", "Domains with a virtual reader.", sum(each.enabled for each in domains))
    troubled = sum(bool(each.last_error) for each in domains)
    yield _gauge("virtcard_domains_troubled", "Domains whose last error still stands.", troubled)
    bridges = GaugeMetricFamily("virtcard_bridges", "Bridges by state.", labels=["state"])
    states = Counter(bridge.state for bridge in moment.bridges)
    for state in BridgeState:
        bridges.add_metric([state.value], states[state])
    yield bridges


def _readers(readers: tuple[ReaderView, ...]) -> Iterator[Metric]:
    yield _gauge("virtcard_readers", "Host readers.", len(readers))
    present = GaugeMetricFamily("virtcard_reader_card_present", "1 while a card is in the reader.", labels=["reader"])
    for name, is_present in {_label(each.name): each.present for each in readers[:METRICS_READERS_MAX]}.items():
        present.add_metric([name], is_present)
    yield present


def _totals(totals: Totals) -> Iterator[Metric]:
    for name, text, value in (
        ("bridges_started", "Bridges that were started.", totals.bridges),
        ("insertions", "Cards that went into virtual readers.", totals.insertions),
        ("troubles", "Errors that bridges reported.", totals.troubles),
        ("apdus", "Commands that cards answered.", totals.apdus),
        ("refused_commands", "Commands that the guard kept from cards.", totals.refused),
        ("pin_failures", "Wrong PINs from guests.", totals.pin_failures),
        ("pin_stops", "PINs that the guard kept from cards.", totals.pin_stops),
        ("card_errors", "Commands that got no answer.", totals.errors),
        ("sent_bytes", "Bytes of commands to cards.", totals.bytes_sent),
        ("received_bytes", "Bytes of answers from cards.", totals.bytes_received),
    ):
        yield CounterMetricFamily(f"virtcard_{name}", text, value=value)
    commands = CounterMetricFamily("virtcard_commands", "Commands to cards by instruction.", labels=["instruction"])
    for instruction, count in sorted(totals.commands.items()):
        commands.add_metric([instruction], count)
    yield commands


def _bridges(moment: Moment) -> Iterator[Metric]:
    """A few series for each bridge, up to a bound; the metrics before count them all."""
    inserted = GaugeMetricFamily("virtcard_bridge_card_inserted", "1 while the guest has a card.", labels=BRIDGE)
    troubled = GaugeMetricFamily("virtcard_bridge_troubled", "1 while its last error stands.", labels=BRIDGE)
    since = GaugeMetricFamily("virtcard_bridge_state_since_seconds", "When it came into its state.", labels=BRIDGE)
    apdus = CounterMetricFamily("virtcard_bridge_apdus", "Commands that its cards answered.", labels=BRIDGE)
    refused = CounterMetricFamily("virtcard_bridge_refused_commands", "Commands that the guard kept.", labels=BRIDGE)
    wrong = CounterMetricFamily("virtcard_bridge_pin_failures", "Wrong PINs from its guest.", labels=BRIDGE)
    errors = CounterMetricFamily("virtcard_bridge_card_errors", "Commands that got no answer.", labels=BRIDGE)
    for bridge in moment.bridges[:METRICS_BRIDGES_MAX]:
        domain = moment.domains.get(bridge.uuid)
        labels = (str(bridge.uuid), _label(domain.name if domain else ""), str(bridge.slot))
        inserted.add_metric(labels, bridge.state is BridgeState.INSERTED)
        troubled.add_metric(labels, bool(bridge.last_error))
        since.add_metric(labels, bridge.since / 1e6)
        apdus.add_metric(labels, bridge.apdus)
        refused.add_metric(labels, bridge.counts.refused)
        wrong.add_metric(labels, bridge.counts.pin_failures)
        errors.add_metric(labels, bridge.counts.errors)
    yield from (inserted, troubled, since, apdus, refused, wrong, errors)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _label(text: str) -> str:
    """Names come from domain XML and from USB descriptors."""
    return text[:METRICS_LABEL_MAX].encode(errors="replace").decode()
