"""One connection: a session with its socket and its timeouts. Its bridge holds the lock around every call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from virtcard import limits
from virtcard.bridge.effects import (
    Effect,
    Ejected,
    Finished,
    Hung,
    Inserted,
    Ready,
    Refused,
    Send,
    StartTimer,
    StopTimer,
    Timer,
    Transmit,
)
from virtcard.bridge.fault import describe
from virtcard.bridge.link import Line
from virtcard.bridge.session import Session
from virtcard.bridge.timers import Alarm, Timers
from virtcard.errors import CardError, Internal, PeerError, VirtcardError

log = logging.getLogger(__name__)

News: TypeAlias = Ready | Inserted | Refused | Ejected | Hung | Finished
"""The effects that concern the card or the bridge; the others are carried out here."""


class Conversation:
    """`commands` wait for the card. `over` says that the socket is to be closed, with `error` when it went wrong."""

    def __init__(
        self,
        link: Line,
        timers: Timers,
        patience: Mapping[Timer, float],
        tell: Callable[[News], None],
        ring: Callable[[Conversation, Timer], None],
        *,
        first_gap: float = limits.INSERT_GAP,
    ) -> None:
        self.link = link
        self.session = Session(first_gap)
        self.commands: list[Transmit] = []
        self.over = False
        self.error: VirtcardError | None = None
        self._timers = timers
        self._patience = patience
        self._tell = tell
        self._ring = ring
        self._alarms: dict[Timer, Alarm] = {}

    def run(self, step: Callable[..., list[Effect]], *arguments: object) -> None:
        """Call a method of the session, and carry out what it wants. Only CardError, of `insert`, comes out of here."""
        try:
            self._apply(step(*arguments))
        except PeerError as error:
            self._give_up(error)
        except CardError:
            raise
        except Exception as fault:  # noqa: BLE001 (it is logged, and the bridge goes on)
            log.error("a conversation failed unexpectedly: %s", describe(fault))
            self._give_up(Internal("virtcard made a mistake, and starts the conversation over."))

    def expired(self, timer: Timer) -> bool:
        """For `ring`: does this timeout still count?"""
        alarm = self._alarms[timer]
        if not alarm.consume():
            return False
        if timer is Timer.QUIET and self.link.unread():
            # Not quiet at all: the worker has not come to it yet. A CardRemove now would cost the guest its answer.
            alarm.start(self._patience.get(timer, limits.EJECT_QUIET))
            return False
        return True

    def close(self) -> None:
        """Close the socket and stop the timeouts."""
        self.over = True
        self.commands.clear()
        for alarm in self._alarms.values():
            alarm.end()
        self.link.close()

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.link.send(effect.data)
            elif isinstance(effect, Transmit):
                self.commands.append(effect)
            elif isinstance(effect, StartTimer):
                self._start(effect.timer, effect.seconds)
            elif isinstance(effect, StopTimer):
                self._stop(effect.timer)
            else:
                self.over = self.over or isinstance(effect, Finished)
                self._tell(effect)

    def _start(self, timer: Timer, seconds: float) -> None:
        alarm = self._alarms.get(timer)
        if alarm is None:
            alarm = self._alarms[timer] = self._timers.alarm(partial(self._ring, self, timer))
        alarm.start(self._patience.get(timer, seconds))

    def _stop(self, timer: Timer) -> None:
        alarm = self._alarms.get(timer)
        if alarm is not None:
            alarm.stop()

    def _give_up(self, error: VirtcardError) -> None:
        self.over = True
        self.error = error
        self.commands.clear()
        self.link.shutdown()
