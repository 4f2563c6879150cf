"""A running bridge between one virtual reader and one card.

A lock stands around the conversation and the seat (`core`). Whoever holds it may change them and send, since sending
never blocks; only the worker's thread calls the card, dials and closes sockets, outside of the lock (`worker`). A
worker that is stuck inside a card is given up: the generation rises, a fresh thread takes over, and what the old one
still brings is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from random import Random

from virtcard import limits
from virtcard.bridge.attempt import attempts
from virtcard.bridge.caller import Caller, Verify
from virtcard.bridge.core import Core
from virtcard.bridge.effects import Timer
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.poller import Wakeup
from virtcard.bridge.spice.settings import SpiceSettings
from virtcard.bridge.status import BridgeState, BridgeStatus, Observer
from virtcard.bridge.timers import SHARED, Timers
from virtcard.bridge.tls import TlsSettings
from virtcard.bridge.worker import Worker
from virtcard.card.base import Card
from virtcard.errors import MORE_RESOURCES, Failed, LocalError

log = logging.getLogger(__name__)

__all__ = ["Bridge", "BridgeState", "BridgeStatus", "Observer", "Verify"]


class Bridge:
    """Thread-safe; no method but `join` waits for a card, a peer or the network.

    `verify` gets the pid behind a unix socket. An endpoint with TLS needs `tls`, and one of SPICE `spice`. Without
    `reconnect` the bridge closes when its peer goes away or is not there. `patience` replaces the session's timeouts,
    in seconds, and `first_gap` that between greeting and ATR until a card was in.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        observer: Observer,
        *,
        verify: Verify | None = None,
        tls: TlsSettings | None = None,
        spice: SpiceSettings | None = None,
        reconnect: bool = True,
        timers: Timers = SHARED,
        rng: Random | None = None,
        patience: Mapping[Timer, float] | None = None,
        first_gap: float = limits.INSERT_GAP,
    ) -> None:
        self._reconnect = reconnect
        self._core = Core(observer, timers, rng, patience or {}, first_gap)
        self._caller = Caller(attempts(endpoint, tls, spice), verify, timers, rng, self._core.kick_from_outside)
        self._core.hire = self._replace
        self._core.greeted = self._caller.succeeded
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> BridgeStatus:
        """How it stands now."""
        with self._core.lock:
            return self._core.status()

    @property
    def apdus(self) -> int:
        """Commands that cards have answered so far."""
        return self._core.apdus

    def start(self) -> None:
        """Begin to look for the peer. Only once; Failed when the system has no descriptor or thread left for it, and
        then the bridge has ended."""
        core = self._core
        with core.lock:
            if self._thread is not None or core.stopping:
                raise LocalError("a bridge starts once")
            try:
                core.wakeup = Wakeup()
                self._hire()
            except OSError as error:
                raise self._not_begun(str(error.strerror)) from error
            except RuntimeError as error:
                raise self._not_begun(str(error)) from error

    def _not_begun(self, why: str) -> Failed:
        """The lock is held."""
        self._core.stopping = self._core.deserted = True
        self._core.end()
        self._core.closed.set()
        return Failed(f"A bridge cannot begin: {why}.", hint=MORE_RESOURCES)

    def insert(self, card: Card) -> bool:
        """Put this card in, and again after each loss of the peer or the card; another one is ejected first.

        The bridge owns the card from now on, and powers it off when it lets go of it. False when it has ended, and the
        card stays whose it is.
        """
        with self._core.lock:
            if self._core.deserted:
                return False
            self._core.want(card)
        self._core.bulletin.deliver()
        return True

    def eject(self) -> None:
        """Take the card out, and leave the reader empty."""
        with self._core.lock:
            self._core.want(None)
        self._core.bulletin.deliver()

    def stop(self) -> None:
        """End in order: eject, take leave of the peer, power the card off. `join` waits for that."""
        with self._core.lock:
            if not self._core.stopping:
                self._core.take_leave()
            if self._thread is None:
                self._core.deserted = True
                self._core.end()
                self._core.closed.set()
        self._core.bulletin.deliver()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; has it come?"""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._core.closed.wait(timeout):
            return False
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return True

    def _hire(self) -> None:
        """A worker of the next generation; the lock is held. RuntimeError when the system has no thread left."""
        core = self._core
        if core.wakeup is not None:
            generation = core.generation + 1
            worker = Worker(core, self._caller, core.wakeup, generation, reconnect=self._reconnect)
            thread = threading.Thread(target=worker.run, name="virtcard-bridge", daemon=True)
            thread.start()
            core.generation, self._thread = generation, thread

    def _replace(self) -> None:
        """A worker for one that is inside a card. Without a thread for it that one goes on when it comes back."""
        try:
            self._hire()
        except RuntimeError as error:
            log.error("no thread is left for a bridge whose card hangs: %s", error)
