"""A bridge under observation."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge, BridgeState, BridgeStatus
from virtcard.bridge.timers import Timers

SHORT = {Timer.ACK: 0.5, Timer.TRANSMIT: 0.3}
"""Seconds: so that a test of a timeout does not take its time."""


class Watched:
    """A bridge, not started, and every status that it told."""

    def __init__(self, endpoint: Endpoint, timers: Timers, rng: Random, **options: Any) -> None:
        self.statuses: list[BridgeStatus] = []
        self._changed = threading.Condition()
        options.setdefault("patience", SHORT)
        self.bridge = Bridge(endpoint, self._observe, timers=timers, rng=rng, **options)

    def states(self) -> list[BridgeState]:
        """The states that were told, without repetition."""
        with self._changed:
            states = [status.state for status in self.statuses]
        return [state for at, state in enumerate(states) if at == 0 or state != states[at - 1]]

    def wait(self, state: BridgeState, *, error: str | None = None, timeout: float = 10) -> BridgeStatus:
        """Wait until the newest status is this one; `error` is a part of its sentence."""

        def reached() -> bool:
            newest = self.statuses[-1] if self.statuses else None
            return newest is not None and newest.state is state and (error is None or error in newest.last_error)

        with self._changed:
            assert self._changed.wait_for(reached, timeout), f"{state} {error}: {self.statuses}"
            return self.statuses[-1]

    def wait_error(self, error: str, timeout: float = 10) -> None:
        """Wait until some status has had this in its sentence."""
        with self._changed:
            told = self._changed.wait_for(lambda: any(error in told.last_error for told in self.statuses), timeout)
            assert told, f"{error}: {self.statuses}"

    def forget(self) -> None:
        """Only what comes from now on counts."""
        with self._changed:
            self.statuses.clear()

    def _observe(self, status: BridgeStatus) -> None:
        with self._changed:
            self.statuses.append(status)
            self._changed.notify_all()
