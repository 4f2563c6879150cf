"""What a bridge tells about itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

log = logging.getLogger(__name__)


class BridgeState(StrEnum):
    """Where a bridge stands."""

    CONNECTING = "connecting"
    """No peer yet, or not any more; tried again by itself."""
    GREETING = "greeting"
    EMPTY = "empty"
    INSERTING = "inserting"
    INSERTED = "inserted"
    EJECTING = "ejecting"
    FAILED = "failed"
    """The peer broke the protocol; tried again by itself."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """One moment of a bridge. `last_error` is a public sentence or "", and `hint` what to do about it, if anything."""

    state: BridgeState
    last_error: str = ""
    apdus: int = 0
    """Commands that cards have answered since the bridge was made."""
    inserted: bool = False
    """The guest has a card now."""
    hint: str = ""
    stuck: bool = False
    """QEMU's input seems to be stuck, and no reconnect mends that; until it greets us again."""
    serial: int = field(default=0, compare=False)
    """Of the last change by then; greater than that of any status before it."""


Observer = Callable[[BridgeStatus], None]
"""Called from any thread, without a lock held, in the order of the changes. The APDU count alone is no change."""


class Bulletin:
    """Delivers statuses in order: posted under the bridge's lock, told to the observer outside of it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.news: list[BridgeStatus] = []
        """What is queued; for a look without a lock."""
        self._delivering = threading.Lock()

    def post(self, status: BridgeStatus) -> None:
        """Queue a status; the caller holds the bridge's lock."""
        self.news.append(status)

    def deliver(self) -> None:
        """Tell what is queued, unless another thread is doing so."""
        while self.news and self._delivering.acquire(blocking=False):
            try:
                self._tell()
            finally:
                self._delivering.release()

    def _tell(self) -> None:
        while self.news:
            status = self.news.pop(0)
            try:
                self._observer(status)
            except Exception:  # a faulty observer must not take the card away from the guest
                log.exception("the observer of a bridge failed")
