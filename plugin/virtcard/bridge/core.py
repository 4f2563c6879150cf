"""Everything of a bridge that its lock protects: the conversation, the seat, the status and who works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Final

from virtcard import limits
from virtcard.bridge.backoff import Backoff
from virtcard.bridge.conversation import Conversation, News
from virtcard.bridge.effects import Effect, Ejected, Hung, Inserted, Ready, Refused, Timer
from virtcard.bridge.latch import Latch
from virtcard.bridge.link import Line
from virtcard.bridge.poller import Wakeup
from virtcard.bridge.seat import Seat, Slot
from virtcard.bridge.status import BridgeState, BridgeStatus, Bulletin, Observer
from virtcard.bridge.timers import Timers
from virtcard.card.base import Card, CardEvent, Transmission
from virtcard.card.errand import Errand, errand
from virtcard.errors import (
    NO_TROUBLE,
    CardAbsent,
    CardError,
    CardWasReset,
    PeerError,
    PeerStuck,
    ReaderGone,
    Trouble,
    VirtcardError,
)

CARD_IS_IN: Final = frozenset({BridgeState.INSERTING, BridgeState.INSERTED})
HUNG: Final = Trouble("The card does not answer.", "Take it out of its reader and put it in again.")
REFUSED: Final = "The virtual reader did not take the card's answer to reset."


class Core:
    """Methods are called with `lock` held, from any thread; the few that take it themselves say so.

    `busy` is the card that the worker is inside now, on its `errand`. `hire` starts a worker; a worker whose generation
    is not `generation` was given up. `chores` says that the worker should look what there is to do.
    """

    def __init__(
        self,
        observer: Observer,
        timers: Timers,
        rng: Random | None,
        patience: Mapping[Timer, float],
        first_gap: float = limits.INSERT_GAP,
    ) -> None:
        self.lock = threading.Lock()
        self.seat = Seat()
        self.bulletin = Bulletin(observer)
        self.talk: Conversation | None = None
        self.state = BridgeState.CONNECTING
        self.apdus = 0
        self.busy: Slot | None = None
        self.errand = Errand()
        self.generation = 0
        self.chores = True
        self.stopping = False
        self.deserted = False
        """No thread is left to let a card go."""
        self.closed = Latch()
        self.wakeup: Wakeup | None = None
        self.hire: Callable[[], None] = lambda: None
        self.greeted: Callable[[], None] = lambda: None
        self.watch = timers.alarm(self._watch_over)
        self.patience = patience
        self.first_gap = first_gap
        self._link_error = self._card_error = NO_TROUBLE
        self._stuck = False
        self._serial = 0
        self._told = BridgeStatus(self.state)
        self._timers = timers
        self._card_backoff = Backoff(rng=rng)
        self._card_pause = timers.alarm(self._card_pause_over)

    def status(self) -> BridgeStatus:
        """How the bridge stands now."""
        error = self._card_error if self._card_error.message else self._link_error
        inserted = self.state is BridgeState.INSERTED
        return BridgeStatus(self.state, error.message, self.apdus, inserted, error.hint, self._stuck, self._serial)

    def publish(self, state: BridgeState | None = None) -> None:
        """Change the state, and queue the news when there are any."""
        self.state = state or self.state
        status, told = self.status(), self._told
        if (status.state, status.last_error) != (told.state, told.last_error):
            self._serial += 1
            self._told = status = replace(status, serial=self._serial)
            self.bulletin.post(status)

    def kick(self) -> None:
        """There may be something to do for the worker."""
        self.chores = True
        if self.wakeup is not None:
            self.wakeup.wake()

    def kick_from_outside(self) -> None:
        """The same; takes the lock."""
        with self.lock:
            self.kick()

    def want(self, card: Card | None) -> None:
        """This card shall be in the reader, or none."""
        self._card_error = NO_TROUBLE
        if card is None:
            self.seat.unwant()
        else:
            self.seat.want(card)
            self._card_backoff.reset()  # it did not fail yet; one that is put in again is to be tried at once
        if self.stopping:
            self.seat.unwant()
        self.settle()

    def settle(self) -> None:
        """What is in goes out when it shall; the worker does the rest."""
        if self.talk is not None and self.state in CARD_IS_IN and self.seat.must_leave:
            self._end_card(self.talk.session.eject)
        self.publish()
        self.kick()

    def take_leave(self) -> None:
        """The orderly end of the conversation, and then of the bridge."""
        self.stopping = True
        self.seat.unwant()
        self._link_error = self._card_error = NO_TROUBLE
        if self.talk is not None:
            self._end_card(self.talk.session.close)
        self.kick()

    def drive(self, step: Callable[..., list[Effect]], *arguments: object) -> None:
        """Call a method of the conversation's session and carry out what it wants."""
        talk = self.talk
        if talk is not None:
            talk.run(step, *arguments)
            if talk.over:
                self.give_up_worker()
                self.kick()

    def enter(self, slot: Slot, *, goes_on: bool = False) -> None:
        """The worker goes inside a card, or back into it on the same errand; called on its thread."""
        self.busy = slot
        self.errand = errand()
        if not goes_on:
            self.errand.begin()

    def give_up_worker(self) -> None:
        """When the worker is inside a card, a fresh one takes over; the card is the old one's until it comes back.

        What the old one has not sent to the card by now it does not send."""
        if self.busy is not None:
            self.busy.stuck = True
            self.busy = None
            self.errand.give_up()
            self.watch.stop()
            self.hire()

    def begin(self, link: Line) -> None:
        """The peer is there and is who it should be."""
        self.talk = Conversation(link, self._timers, self.patience, self._on_news, self._ring, first_gap=self.first_gap)
        self.publish(BridgeState.GREETING)
        self.drive(self.talk.session.start)

    def seat_card(self, slot: Slot, atr: bytes, transmission: Transmission) -> None:
        """The wanted card is powered on: give it to the session."""
        if self.talk is None or self.state is not BridgeState.EMPTY or slot is not self.seat.wanted or slot.stale:
            return
        self.seat.seated = slot
        self.publish(BridgeState.INSERTING)
        try:
            self.drive(self.talk.session.insert, atr, transmission)
        except CardError as error:
            self.seat.unseat()
            self.card_failed(slot, error)
            self.publish(BridgeState.EMPTY)

    def card_failed(self, slot: Slot, error: CardError) -> None:
        """It could not be put in: again with its next event, or after a pause."""
        if slot is not self.seat.wanted:
            return
        self._card_error = Trouble.of(error)
        if isinstance(error, CardAbsent):
            self.seat.lost(slot)
        else:
            slot.usable = False
            self._card_pause.start(self._card_backoff.next())
        self.publish()

    def command_failed(self, slot: Slot, ticket: int, error: CardError) -> None:
        """The card could not answer: the guest hears it, and a card that is gone or was reset goes out."""
        if self.talk is not None:
            self.drive(self.talk.session.fail, ticket)
        self._card_error = Trouble.of(error)
        if isinstance(error, CardAbsent | ReaderGone):
            self.seat.lost(slot)
        elif isinstance(error, CardWasReset):
            slot.stale = True
        self.settle()

    def link_failed(self, error: VirtcardError | None, *, again: bool) -> None:
        """The peer is gone, cannot be reached, or is not to be trusted. Not `again`: that is the end of the bridge."""
        self._link_error = Trouble.of(error)
        self._stuck = isinstance(error, PeerStuck)
        self.seat.unseat()
        self.stopping = self.stopping or not again
        if self.stopping:
            self.seat.unwant()
        else:
            self.publish(BridgeState.FAILED if isinstance(error, PeerError) else BridgeState.CONNECTING)
        self.chores = True

    def end(self) -> None:
        """The bridge has ended: nothing rings, nobody is woken."""
        self.watch.end()
        self._card_pause.end()
        if self.wakeup is not None:
            self.wakeup.close()
            self.wakeup = None
        self.publish(BridgeState.CLOSED)

    def card_event(self, slot: Slot, event: CardEvent) -> None:
        """What a card reports; takes the lock."""
        with self.lock:
            self.seat.event(slot, event)
            if slot is self.seat.wanted:
                self.settle()
        self.bulletin.deliver()

    def _end_card(self, step: Callable[[], list[Effect]]) -> None:
        """Until the card is out somebody must read the guest's APDUs, so a worker inside the card is given up."""
        if self.talk is not None:
            self.talk.commands.clear()
        if self.state in CARD_IS_IN:
            self.publish(BridgeState.EJECTING)
        self.drive(step)
        self.give_up_worker()

    def _on_news(self, news: News) -> None:
        if isinstance(news, Ready):
            self.greeted()
            self._link_error = NO_TROUBLE
            self._stuck = False
            self.publish(BridgeState.EMPTY)
        elif isinstance(news, Inserted):
            self._card_error = NO_TROUBLE
            self._card_backoff.reset()
            self.first_gap = limits.INSERT_GAP
            self.publish(BridgeState.INSERTED)
        elif isinstance(news, Refused):
            if self.seat.seated is not None:
                self.card_failed(self.seat.seated, CardError(REFUSED))
        elif isinstance(news, Ejected):
            self.seat.unseat()
            self.publish(BridgeState.EMPTY)
        elif isinstance(news, Hung):
            self._on_hung()
        self.kick()

    def _on_hung(self) -> None:
        """The guest has its VSC_Error, so what still waits must not reach the card."""
        if self.talk is not None:
            self.talk.commands.clear()
        self._card_error = HUNG
        self.publish(BridgeState.EJECTING)
        self.give_up_worker()

    def _ring(self, talk: Conversation, timer: Timer) -> None:
        with self.lock:
            if talk is self.talk and talk.expired(timer):
                self.drive(talk.session.expired, timer)
        self.bulletin.deliver()

    def _watch_over(self) -> None:
        """Something other than a command takes too long inside a card; commands have the session's timeout."""
        with self.lock:
            if self.watch.consume() and self.busy is not None:
                if self.busy is self.seat.wanted:
                    self._card_error = HUNG
                self.give_up_worker()
                self.publish()
        self.bulletin.deliver()

    def _card_pause_over(self) -> None:
        with self.lock:
            if self._card_pause.consume() and self.seat.wanted is not None:
                self.seat.wanted.usable = True
                self.kick()
