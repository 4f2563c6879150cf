"""The file of metrics, when virtcardd writes one."""

from __future__ import annotations

import time
from typing import Final

from virtcard.cli.local.doctor.check import Outcome, Situation, ok, warning
from virtcard.cli.local.doctor.daemon import manager_of
from virtcard.errors import VirtcardError
from virtcard.limits import METRICS_PERIOD

MISSED: Final = 4
"""Turns of writing after which the file is old."""


def check_metrics(situation: Situation) -> Outcome | None:
    """It is there and new."""
    try:
        path = str(manager_of(situation)["Metrics"])
    except VirtcardError:
        return None
    if not path:
        return ok("virtcardd writes no metrics: 'virtcardd --metrics' does.")
    try:
        age = time.time() - situation.path(path).stat().st_mtime
    except OSError as failure:
        return warning(f"The metrics {path} cannot be read: {failure.strerror}.", "See what virtcardd logs about it.")
    if age > MISSED * METRICS_PERIOD:
        return warning(f"The metrics {path} are {age:.0f} s old.", "See what virtcardd logs about it.")
    return ok(f"virtcardd writes metrics to {path}.")
