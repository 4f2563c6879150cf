"""What benchmarks share: their targets, their table, and a process of its own for each."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

TARGETS = {
    "service_first_pass_1000_s": 2.0,
    "service_reconcile_ratio": 1.2,
    "service_start_to_card_beyond_gap_ms": 250.0,
    "guest_bridge_ratio": 1.15,
    "unix_connect_us": 30.0,
    "tls_bridge_us": 300.0,
    "spice_bridge_us": 300.0,
    "listing_ratio": 1.1,
    "piv_rsa2048_signature_ms": 2.0,
    "piv_rsa2048_raw_ms": 20.0,
    "piv_p256_signature_ms": 1.0,
    "pcsc_bridge_ratio": 1.3,
    "guard_audit_lease_add_us": 10.0,
    "guard_read_adds_us": 10.0,
    "guard_select_adds_us": 10.0,
    "guard_sign_adds_us": 10.0,
    **{f"scale_rss_{size}_mb": 70 + 0.06 * size for size in (10, 100, 1000)},
    "scale_idle_cpu_1000_percent": 0.5,
    "scale_latency_p99_ms": 100.0,
    "scale_fastest_to_slowest_signer_ratio": 10.0,
    "scale_growth_start": 1.5,
    "scale_growth_next_pass": 1.5,
    "scale_growth_rss": 1.2,
    "scale_growth_threads": 1.05,
    "scale_growth_descriptors": 1.05,
}
"""The most that a figure may be."""


def measure(module: str) -> dict[str, float]:
    """The figures of a benchmark, measured in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run, module).result()


def _run(module: str) -> dict[str, float]:
    figures: dict[str, float] = importlib.import_module(module).run()
    return figures


def missed(figures: Mapping[str, float]) -> list[str]:
    """The figures beyond their target."""
    return [name for name, value in figures.items() if value > TARGETS.get(name, value)]


def show(figures: Mapping[str, float]) -> None:
    """Print a table, with the target of a figure beside it."""
    for name, value in figures.items():
        target = f"  at most {TARGETS[name]:g}" if name in TARGETS else ""
        note = ": missed" if name in missed(figures) else ""
        print(f"{name:<40} {value:12.3f}{target}{note}", flush=True)
