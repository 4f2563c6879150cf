"""Watches host readers and their cards, through restarts of pcscd."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from virtcard.card.base import CardEvent
from virtcard.card.reader import PNP_READER, Context, PcscError, ReaderInfo, Result, State
from virtcard.limits import BACKOFF_FIRST, BACKOFF_MAX, WATCH_PATIENCE, WATCH_STOP_PATIENCE

log = logging.getLogger(__name__)


class Service(StrEnum):
    """Whether pcscd answers."""

    CONNECTED = "connected"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """pcscd came or went. Its readers are reported as added after it came, and as removed before it went."""

    service: Service


@dataclass(frozen=True, slots=True)
class ReaderAdded:
    """A reader appeared, perhaps with a card in it."""

    reader: ReaderInfo


@dataclass(frozen=True, slots=True)
class ReaderChanged:
    """A card went in or out, or another one is in."""

    before: ReaderInfo
    reader: ReaderInfo


@dataclass(frozen=True, slots=True)
class ReaderRemoved:
    """A reader is gone."""

    reader: ReaderInfo


ReaderEvent = ServiceChanged | ReaderAdded | ReaderChanged | ReaderRemoved
ReaderListener = Callable[[ReaderEvent], None]


def card_events(event: ReaderEvent, reader: str) -> tuple[CardEvent, ...]:
    """What an event means for the card in `reader`. A swap is a removal and an insertion."""
    match event:
        case ReaderAdded(now) if now.name == reader and now.present:
            return (CardEvent.INSERTED,)
        case ReaderRemoved(before) if before.name == reader and before.present:
            return (CardEvent.REMOVED,)
        case ReaderChanged(before, now) if now.name == reader:
            return (CardEvent.REMOVED,) * before.present + (CardEvent.INSERTED,) * now.present
    return ()


class ReaderWatcher:
    """One thread that waits in pcscd for readers and cards, and tells its listeners from that thread.

    Listeners must be short and never block; one that raises is logged and kept.
    """

    def __init__(self, *listeners: ReaderListener) -> None:
        self._listeners = list(listeners)
        self._lock = threading.Lock()
        self._readers: tuple[ReaderInfo, ...] = ()
        self._service = Service.AWAY
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._pause = BACKOFF_FIRST
        self._context: Context | None = None
        self._thread = threading.Thread(target=self._run, name="readers", daemon=True)

    @property
    def readers(self) -> tuple[ReaderInfo, ...]:
        """The readers as last seen, in pcscd's order."""
        return self._readers

    @property
    def service(self) -> Service:
        """Whether pcscd answered last."""
        return self._service

    def start(self) -> None:
        """Begin to watch. Everything is reported as added first."""
        self._thread.start()

    def settle(self, patience: float) -> bool:
        """Wait up to `patience` seconds for the first look, whatever it found."""
        return self._settled.wait(patience)

    def stop(self) -> None:
        """End the thread: within milliseconds, or, with a pcscd that hangs, give it up after WATCH_STOP_PATIENCE."""
        self._stopping.set()
        if self._thread.is_alive():
            # In a thread, since SCardCancel asks pcscd too, and has no time-out.
            threading.Thread(target=self._cancel, name="readers-cancel", daemon=True).start()
            self._thread.join(WATCH_STOP_PATIENCE)

    def subscribe(self, listener: ReaderListener) -> tuple[ReaderInfo, ...]:
        """Tell `listener` about every change to the readers returned."""
        with self._lock:
            self._listeners.append(listener)
            return self._readers

    def unsubscribe(self, listener: ReaderListener) -> None:
        """Tell `listener` no more; an event on its way may still reach it."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _cancel(self) -> None:
        while self._thread.is_alive():
            if (context := self._context) is not None:
                context.cancel()  # lost when the thread is between two waits, so again
            self._thread.join(0.02)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._context = Context()
                self._watch(self._context)
            except PcscError as failure:
                # pcsc-lite may say INVALID_HANDLE when a cancel meets a time-out: a new context is all it takes.
                if failure.code not in (Result.INVALID_HANDLE, Result.CANCELLED):
                    self._lost()
                self._stopping.wait(self._pause)
                self._pause = min(2 * self._pause, BACKOFF_MAX)
            finally:
                self._release()

    def _watch(self, context: Context) -> None:
        """Look until told to stop; PcscError when pcscd goes."""
        self._publish_service(Service.CONNECTED)
        known = {PNP_READER: int(State.UNAWARE)}
        patience = 0.0
        while not self._stopping.is_set():
            seen = _look(context, known, patience)
            known = {PNP_READER: known[PNP_READER]} | {info.name: state for info, state in seen}
            readers = {info.name: info for info, _ in seen if info.name != PNP_READER}
            names = context.readers()
            agrees = set(names) == set(readers)  # or else one came or went meanwhile: look again, and at once
            if agrees:
                self._publish([readers[name] for name in names])
                self._settled.set()
                self._pause = BACKOFF_FIRST
            known = {PNP_READER: known[PNP_READER]} | {name: known.get(name, int(State.UNAWARE)) for name in names}
            patience = WATCH_PATIENCE if agrees else 0.0

    def _lost(self) -> None:
        self._publish([])
        self._publish_service(Service.AWAY)
        self._settled.set()

    def _publish(self, readers: list[ReaderInfo]) -> None:
        with self._lock:
            before = {reader.name: reader for reader in self._readers}
            self._readers = tuple(readers)
            listeners = tuple(self._listeners)
        _tell(listeners, differences(before, {reader.name: reader for reader in readers}))

    def _publish_service(self, service: Service) -> None:
        if service is not self._service:
            self._service = service
            with self._lock:
                listeners = tuple(self._listeners)
            _tell(listeners, [ServiceChanged(service)])

    def _release(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.release()


def _tell(listeners: tuple[ReaderListener, ...], events: list[ReaderEvent]) -> None:
    for event in events:
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a reader listener failed")


def _look(context: Context, known: dict[str, int], patience: float) -> list[tuple[ReaderInfo, int]]:
    try:
        return context.wait(known, patience)
    except PcscError as failure:
        if failure.code == Result.UNKNOWN_READER:
            return []  # one was unplugged since the list was made: ask for the new list
        raise


def differences(before: dict[str, ReaderInfo], now: dict[str, ReaderInfo]) -> list[ReaderEvent]:
    """The events that lead from one set of readers, by name, to the next."""
    events: list[ReaderEvent] = [ReaderRemoved(reader) for name, reader in before.items() if name not in now]
    for name, reader in now.items():
        if name not in before:
            events.append(ReaderAdded(reader))
        elif before[name] != reader:
            events.append(ReaderChanged(before[name], reader))
    return events
