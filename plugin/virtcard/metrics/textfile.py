"""Writes the metrics: a whole file in place of the last one, now and then."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from virtcard.errors import Failed
from virtcard.limits import METRICS_PERIOD
from virtcard.metrics.families import Families, Moment
from virtcard.service.registry import Registry
from virtcard.service.threads import start
from virtcard.service.totals import Totals
from virtcard.service.views import StatusView

log = logging.getLogger(__name__)


class Textfile:
    """Made on the registry's thread, before it has bridges. `path` ends with .prom, as the collector wants it."""

    def __init__(self, path: Path, registry: Registry, status: Callable[[], StatusView]) -> None:
        self._path = path
        self._registry = registry
        self._status = status
        self._totals = Totals(registry)
        self._failed = False

    async def run(self) -> None:
        """Write until cancelled; then the file goes, so that nobody takes old values for new ones."""
        try:
            while True:
                await self._write()
                await asyncio.sleep(METRICS_PERIOD)
        finally:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    async def _write(self) -> None:
        """A disk that is full, say, or no thread left, is no reason to end; it is logged once until it is over."""
        registry = self._registry
        moment = Moment(
            self._status(),
            dict(registry.domains.items()),
            tuple(registry.readers.values()),
            tuple(registry.bridges.values()),
        )
        try:
            await asyncio.wrap_future(start(_replace, self._path, Families(moment, self._totals)))
        except (OSError, Failed) as error:
            if not self._failed:
                why = error.message if isinstance(error, Failed) else error.strerror
                log.warning("cannot write the metrics %s: %s", self._path, why)
            self._failed = True
        else:
            self._failed = False


def _replace(path: Path, families: Families) -> None:
    """Readable by everybody, as all that it tells is on D-Bus; the daemon's umask is 077."""
    registry = CollectorRegistry()
    registry.register(families)
    text = generate_latest(registry)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    partial.replace(path)
