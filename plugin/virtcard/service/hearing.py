"""What the service is told by libvirt, readers, bridges, persons and the policy, and which domains that wakes."""

from __future__ import annotations

import logging
from uuid import UUID

from virtcard.domain.events import EventKind, HypervisorEvent, Lifecycle, Stopped, came_in, ends_login
from virtcard.limits import BRIDGE_PAUSE
from virtcard.names import WISH_NAMESPACE
from virtcard.service.bridges import Key
from virtcard.service.meeting import Meeting
from virtcard.service.passes import Passes
from virtcard.service.permission import Denied, Wanted
from virtcard.service.reconcile import Reconciler
from virtcard.service.registry import Registry
from virtcard.service.viewers import Viewers

log = logging.getLogger(__name__)

SETTLE = 0.3
"""Seconds after a redefine by somebody else before we look: tools redefine in bursts."""


class Hearing:
    """Belongs to the event loop's thread."""

    def __init__(
        self, registry: Registry, passes: Passes, reconciler: Reconciler, meeting: Meeting, viewers: Viewers
    ) -> None:
        self._registry = registry
        self._passes = passes
        self._turns = passes.turns
        self._reconciler = reconciler
        self._meeting = meeting
        self._viewers = viewers

    def on_event(self, event: HypervisorEvent) -> None:
        """Something happened to a domain."""
        if event.uuid is not None and event.viewer is not None:
            self._viewers.take(event.uuid, (event.viewer,))
            return
        if event.uuid is None or (event.kind is EventKind.METADATA and event.namespace != WISH_NAMESPACE):
            return
        if came_in(event):
            self._passes.came_in.add(event.uuid)
        if ends_login(event):
            self._reconciler.seating.logout(event.uuid)
        known = self._registry.domains.get(event.uuid) is not None
        burst = known and event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.DEFINED
        self._turns.wake(event.uuid, SETTLE if burst else 0.0)
        if _has_ended(event):
            self._reconciler.end_of_run(event.uuid)
        elif _is_set_back(event):
            self._reconciler.reverted.add(event.uuid)
        if event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STARTED:
            self._meeting.started(event.uuid)
        if event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STOPPED:
            self._viewers.forget(event.uuid)

    def judge_again(self) -> tuple[Denied, ...]:
        """What decides about cards has changed, the policy or the lock of the screen. Why cards went out."""
        denials = self._reconciler.seating.judge_all()
        for view in self._registry.domains.values():
            if view.has_reader:
                self._turns.wake(view.uuid)
        return denials

    def on_viewers(self, uuid: UUID) -> None:
        """A viewer's card came to a machine or went: where the rule says so, the host's goes out or comes back."""
        if self._viewers.shares_card(uuid, is_in=True):
            self._reconciler.seating.judge_all()
        self._turns.wake(uuid)

    def on_card(self, key: Key, wanted: Wanted) -> None:
        """The card of a bridge is another one than it was taken for."""
        self._reconciler.note_consents(key, wanted)
        self.on_answer(wanted.request.uuid)

    def on_bridge_ended(self, key: Key) -> None:
        """By itself, or it could not begin: it begins anew, but not at once, since the same may happen again."""
        self._turns.wake(key[0], BRIDGE_PAUSE)

    def on_answer(self, uuid: UUID) -> None:
        """A person has said what is to become of a domain's card."""
        self._turns.wake(uuid)

    def host_sleeps(self) -> None:
        """The host goes to sleep or has woken up, and every login ends with that; cards stay in."""
        log.info("the host sleeps: every login ends")
        self._reconciler.seating.logout_all()

    def on_readers(self) -> None:
        """Readers or cards came or went: domains that could not get theirs may now."""
        self._wake_waiting()

    def on_free(self, uuid: UUID) -> None:
        """This domain's bridge has let go of a card: another one may have it now."""
        self._wake_waiting(uuid)

    def _wake_waiting(self, but: UUID | None = None) -> None:
        for view in self._registry.domains.values():
            if view.has_reader and view.last_error and view.uuid != but:
                self._turns.wake(view.uuid)


def _has_ended(event: HypervisorEvent) -> bool:
    """The machine that cards were inserted in is no more."""
    stopped = event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STOPPED
    return stopped and not _is_set_back(event)


def _is_set_back(event: HypervisorEvent) -> bool:
    """Its QEMU ends, and the machine goes on for its user in another one, from a snapshot."""
    stopped = event.kind is EventKind.LIFECYCLE and event.event == Lifecycle.STOPPED
    return stopped and event.detail == Stopped.FROM_SNAPSHOT
