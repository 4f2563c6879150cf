"""The bridges that run: one for each virtual reader of a running domain, and which card is in it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from virtcard import limits
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.runner import Bridge
from virtcard.bridge.status import BridgeState, BridgeStatus
from virtcard.card.audit import Ledger
from virtcard.card.base import Card, InReader
from virtcard.card.tenant import Tenant
from virtcard.errors import CardError, Conflict, Disconnected, Failed, TimedOut, VirtcardError
from virtcard.policy.decide import Decision
from virtcard.service.opening import Opening
from virtcard.service.permission import Denied, Gate, Wanted
from virtcard.service.registry import Shelf
from virtcard.service.threads import start
from virtcard.service.views import BridgeView
from virtcard.service.wardrobe import Fitting, Wardrobe

log = logging.getLogger(__name__)

Key = tuple[UUID, int]
Verify = Callable[[int], None]
OnStuck = Callable[[Key], str]
"""Told when a reader seems to be stuck; what a person can do about it, or ""."""
OnEnded = Callable[[Key], None]
"""Told when a bridge has ended by itself, or could not begin."""
OnCard = Callable[[Key, Wanted], None]
"""Told when the card of a bridge turns out to be another one than it was taken for, with what is known now."""

STOP_PATIENCE = limits.EJECT_PATIENCE + limits.ACK_PATIENCE + 1.0
"""Seconds for an orderly end: the ceremony, and a peer that acknowledges nothing."""


@dataclass(slots=True)
class _Running:
    bridge: Bridge
    endpoint: Endpoint
    ledger: Ledger = field(default_factory=Ledger)
    seated: _Seated | None = None
    renewed: _Seated | None = None
    """What was taken out to go in anew, since the policy treats it in another way now."""
    logout: Callable[[], None] | None = None
    """Ends the login to the card that is seated."""
    counted: int = 0
    """APDUs when the counters were last looked at."""
    happened: int = 0
    """What had happened by then, those that failed and those that were refused included."""
    quiet: int = limits.ACTIVE_LOOKS
    """Looks at the counters since the last new APDU."""

    @property
    def has_ended(self) -> bool:
        """By a fault of ours: nobody has stopped it."""
        return self.bridge.status.state is BridgeState.CLOSED

    @property
    def rests(self) -> bool:
        """Nothing has happened since the last look, which found it inactive."""
        return self.quiet > limits.ACTIVE_LOOKS and self._happenings() == self.happened

    def look(self) -> bool:
        """Has the guest talked to the card lately? To be called each time that the counters are looked at."""
        self.happened = self._happenings()
        apdus = self.bridge.apdus
        self.quiet = self.quiet + 1 if apdus == self.counted else 0
        self.counted = apdus
        return self.quiet < limits.ACTIVE_LOOKS

    def _happenings(self) -> int:
        return self.bridge.apdus + self.ledger.happenings


@dataclass(slots=True)
class _Seated:
    """The card that was given to a bridge, and why."""

    card: Card
    """As its source opened it; one that is in no reader as a Tenant."""
    wanted: Wanted
    """With `reader` and `atr` as they are."""
    decision: Decision
    """By which it was dressed."""
    now: Decision
    """What the policy says since; it suits the one before."""


class Bridges:
    """Belongs to the event loop's thread; the bridges report from their own threads."""

    def __init__(
        self,
        shelf: Shelf[Key, BridgeView],
        opening: Opening,
        wardrobe: Wardrobe,
        gate: Gate,
        *,
        atr_of: Callable[[str], bytes],
        on_card: OnCard,
        on_stuck: OnStuck,
        on_ended: OnEnded,
    ) -> None:
        """`atr_of` tells the ATR of the card in a host reader, b"" when there is none."""
        self._shelf = shelf
        self._opening = opening
        self._wardrobe = wardrobe
        self._gate = gate
        self._atr_of = atr_of
        self._on_card = on_card
        self._on_stuck = on_stuck
        self._on_ended = on_ended
        self._closed = False
        self._running: dict[Key, _Running] = {}
        self._in_readers: dict[Key, str] = {}
        """The host reader of each bridge that has a card in one: asked for after every look at a domain."""
        self._loop = asyncio.get_running_loop()
        self._ends: set[asyncio.Task[None]] = set()

    def source(self, key: Key) -> str:
        """The source that was given to the bridge, or ""."""
        running = self._running.get(key)
        return running.seated.wanted.source if running and running.seated else ""

    def slots(self, uuid: UUID) -> tuple[int, ...]:
        """The readers of a domain that have a bridge."""
        return tuple(slot for slot in range(limits.HOTPLUG_MAX + 1) if (uuid, slot) in self._running)

    def readers(self) -> dict[str, tuple[UUID, ...]]:
        """Which domains use which host reader, by its PC/SC name."""
        users: dict[str, tuple[UUID, ...]] = {}
        for (uuid, _), reader in self._in_readers.items():
            users[reader] = (*users.get(reader, ()), uuid)
        return users

    def ledger(self, key: Key) -> Ledger | None:
        """The ledger of a bridge, or None when there is no such bridge."""
        running = self._running.get(key)
        return running.ledger if running else None

    def show_traced(self, key: Key, users: tuple[str, ...]) -> None:
        """These users trace the bridge now."""
        self._update(key, traced_by=users)

    def ensure(self, key: Key, endpoint: Endpoint, verify: Verify | None, first_gap: float = limits.INSERT_GAP) -> None:
        """Run a bridge to this endpoint; one to another endpoint, or one that has ended, is replaced.

        Disconnected after `close`, Failed when it cannot begin; there is no bridge then."""
        running = self._running.get(key)
        if running and running.endpoint == endpoint and not running.has_ended:
            return
        if self._closed:
            raise _ending()
        self.drop(key)
        bridge = Bridge(endpoint, lambda status: self._report(key, bridge, status), verify=verify, first_gap=first_gap)
        try:
            bridge.start()
        except Failed:
            self._on_ended(key)
            raise
        self._running[key] = _Running(bridge, endpoint)
        self._shelf.put(key, BridgeView(*key, "", str(endpoint), BridgeState.CONNECTING, _now()))

    async def set_card(self, key: Key, wanted: Wanted) -> None:
        """Put the card of a source in, if the policy lets it. Errors leave the reader as it was.

        Failed when no bridge runs there. Denied or ConsentNeeded is an error too, for the card that is in already as
        well. One that the policy treats in another way now is out when it cannot go in anew."""
        running = self._at(key)
        if self._stays(key, running, wanted):
            return
        card = await self._open(key, running, wanted.source)
        wanted = self._known(wanted, card)
        try:
            decision = self._gate.judge(wanted.request, wanted.consents)
            self._seat(key, running, _Seated(card, wanted, decision, decision))
        except VirtcardError:
            start(card.power_off)
            running.renewed = None
            raise

    def _at(self, key: Key) -> _Running:
        running = self._running.get(key)
        if running is None or running.has_ended:
            raise Failed("No bridge runs to the virtual reader.", hint="'virtcard status' tells why.")
        return running

    def logout(self, uuid: UUID) -> None:
        """End what logins there are from this domain; its cards stay in."""
        for (domain, _), running in self._running.items():
            if domain == uuid and running.logout:
                running.logout()

    def logout_all(self) -> None:
        """End the logins from all domains; their cards stay in."""
        for running in self._running.values():
            if running.logout:
                running.logout()

    def take_out(self, key: Key) -> None:
        """Take out what is in."""
        running = self._running[key]
        running.renewed = None
        if running.seated:
            running.seated = running.logout = None
            self._in_readers.pop(key, None)
            running.bridge.eject()
            self._show(key, running)

    def judge_all(self) -> tuple[Denied, ...]:
        """Something changed: cards that may be in no longer go out at once, and why they do.

        Those that are to be treated in another way go out as well, until `set_card`: it may have to wait for others."""
        judged = [self._judge(key, running) for key, running in self._running.items()]
        return tuple(denied for denied in judged if denied is not None)

    def _judge(self, key: Key, running: _Running) -> Denied | None:
        """Out with a card that may be in no longer, and why. A fault at one keeps no other one in."""
        if running.seated is None:
            return None
        try:
            self._stays(key, running, running.seated.wanted)
        except Denied as denied:
            log.warning("domain %s: %s", key[0], denied.message)
            self.take_out(key)
            return denied
        except Exception:
            log.exception("domain %s: its card could not be judged again", key[0])
            self.take_out(key)
        return None

    def _stays(self, key: Key, running: _Running, wanted: Wanted) -> bool:
        """What is wanted is in already, and may stay as it is. Out with it when the policy treats it in another way.

        The policy may have changed since, and whoever asks, and the card in the reader."""
        seated = running.seated
        if seated is None or seated.wanted.source != wanted.source:
            return False
        now = seated.wanted.request
        wanted = replace(wanted, request=replace(wanted.request, reader=now.reader, atr=now.atr))
        decision = self._gate.judge(wanted.request, wanted.consents, is_in=True)
        if not decision.suits(seated.decision):
            self.take_out(key)
            running.renewed = seated
            return False
        seated.wanted, seated.now = wanted, decision
        return True

    async def _open(self, key: Key, running: _Running, source: str) -> Card:
        """A card that goes in anew is opened anew in the same reader: a thread may be stuck in the old one. Others may
        have one opener alone, and wait for that thread."""
        renewed = running.renewed
        if renewed is not None and renewed.wanted.source == source:
            if isinstance(renewed.card, Tenant):
                return renewed.card.successor()
            source = renewed.wanted.request.card
        card = await self._opening.open(source)
        if self._running.get(key) is not running:
            start(card.power_off)
            raise _ending()
        return card if isinstance(card, InReader) else Tenant(card)

    def _known(self, wanted: Wanted, card: Card) -> Wanted:
        """With the reader that the source means, and what is in it."""
        if not isinstance(card, InReader):
            return wanted
        return replace(wanted, request=replace(wanted.request, reader=card.reader, atr=self._atr_of(card.reader)))

    def _seat(self, key: Key, running: _Running, seated: _Seated) -> None:
        admit = partial(self._admit, key, seated)
        before = running.seated or running.renewed
        dressed = self._wardrobe.dress(
            Fitting(
                seated.card,
                key[1],
                lambda: seated.wanted.request,
                seated.decision,
                lambda: seated.now.rule,
                running.ledger,
                admit,
                before.card if before else None,
            )
        )
        running.seated, running.renewed, running.logout = seated, None, dressed.logout
        self._in_readers.pop(key, None)
        if reader := seated.wanted.request.reader:
            self._in_readers[key] = reader
        running.bridge.insert(dressed.card)
        self._show(key, running)

    def _show(self, key: Key, running: _Running) -> None:
        status = running.bridge.status  # the card before may have left an error, and the peer may have one still
        self._update(key, source=self.source(key), **_told(status))

    def _admit(self, key: Key, seated: _Seated, atr: bytes) -> None:
        """In the bridge's thread, with the ATR of the card that was found: does the decision hold for it?"""
        wanted, decision = seated.wanted, seated.decision
        if atr == wanted.request.atr:
            return
        wanted = wanted.with_atr(atr)
        self._loop.call_soon_threadsafe(self._found, key, seated, wanted)
        try:
            found = self._gate.judge(wanted.request, wanted.consents)
        except Denied as denied:
            raise CardError(denied.message, hint=denied.hint) from denied
        if not found.suits(decision):
            raise CardError("The policy treats the card in the reader in another way; it goes in anew.")

    def _found(self, key: Key, seated: _Seated, wanted: Wanted) -> None:
        running = self._running.get(key)
        if running and running.seated is seated:
            seated.wanted = wanted
            self._on_card(key, wanted)

    def drop(self, key: Key) -> None:
        """End a bridge in order, in the background."""
        running = self._running.pop(key, None)
        self._in_readers.pop(key, None)
        if running is None:
            return
        self._update(key, apdus=running.bridge.apdus, counts=running.ledger.counts())
        self._shelf.drop(key)
        running.bridge.stop()
        task = self._loop.create_task(self._end(running.bridge))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def end(self, key: Key) -> None:
        """The same, and wait for it."""
        await self._until_ended([key])

    async def end_all(self, uuid: UUID) -> None:
        """The same for all bridges of a domain."""
        await self._until_ended([(uuid, slot) for slot in self.slots(uuid)])

    async def _until_ended(self, keys: list[Key]) -> None:
        before = set(self._ends)
        for key in keys:
            self.drop(key)
        if ending := self._ends - before:
            await asyncio.wait(ending)

    async def _end(self, bridge: Bridge) -> None:
        await asyncio.wrap_future(start(bridge.join, STOP_PATIENCE))

    async def close(self) -> None:
        """End all of them in order, and start no more."""
        self._closed = True
        for key in list(self._running):
            self.drop(key)
        while self._ends:
            await asyncio.wait(self._ends)

    def refresh_counters(self) -> None:
        """Bring the counters of the views up to date; the bridges do not report each APDU."""
        for key, running in self._running.items():
            if running.rests:
                continue
            active, counts = running.look(), running.ledger.counts()
            view = self._shelf.get(key)
            if view is None or (view.apdus, view.active) != (running.counted, active) or view.counts is not counts:
                self._update(key, apdus=running.counted, counts=counts, active=active)

    async def until_inserted(self, key: Key, source: str, patience: float) -> None:
        """Wait for the card of `source` to be in the reader.

        CardError with the bridge's own sentence when it fails, Conflict when something else was put in meanwhile."""
        await self._until(key, patience, lambda view: _inserted(view, source))

    async def until_empty(self, key: Key, patience: float) -> None:
        """Wait for the reader to be empty."""
        await self._until(key, patience, _empty)

    async def _until(self, key: Key, patience: float, done: Callable[[BridgeView | None], bool]) -> None:
        changed = asyncio.Event()

        def listener(changed_key: Key, _old: BridgeView | None, _new: BridgeView | None) -> None:
            if changed_key == key:
                changed.set()

        self._shelf.listen(listener)
        try:
            async with asyncio.timeout(patience):
                while not done(self._shelf.get(key)):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise TimedOut(
                "The virtual machine did not take notice in time.",
                hint="'virtcard info' shows the state of its bridge.",
            ) from None
        finally:
            self._shelf.unlisten(listener)

    def _report(self, key: Key, bridge: Bridge, status: BridgeStatus) -> None:
        self._loop.call_soon_threadsafe(self._take, key, bridge, status)

    def _take(self, key: Key, bridge: Bridge, status: BridgeStatus) -> None:
        running = self._running.get(key)
        if running is not None and running.bridge is bridge:
            told = _told(status)
            if status.stuck and (advice := self._on_stuck(key)):
                told["hint"] = advice
            self._update(key, apdus=status.apdus, counts=running.ledger.counts(), **told)
            if status.state is BridgeState.CLOSED:
                self._on_ended(key)

    def _update(self, key: Key, **changes: object) -> None:
        view = self._shelf.get(key)
        if view is None:
            return
        since = _now() if changes.get("state", view.state) != view.state else view.since
        self._shelf.put(key, replace(view, since=since, **changes))  # type: ignore[arg-type]


def _told(status: BridgeStatus) -> dict[str, object]:
    """What of it a view shows under the same names."""
    return {"state": status.state, "last_error": status.last_error, "hint": status.hint}


def _now() -> int:
    return time.time_ns() // 1000


def _ending() -> Disconnected:
    return Disconnected("virtcardd is ending.", hint="Try again when it runs again.")


def _inserted(view: BridgeView | None, source: str) -> bool:
    if view is None:
        raise Failed("The virtual machine went away.")
    if view.source != source:
        raise Conflict("Another call changed at the same time what is in the reader.", hint="Try again.")
    if view.state is BridgeState.INSERTED:
        return True
    if view.last_error and view.state in {BridgeState.EMPTY, BridgeState.FAILED}:
        raise CardError(view.last_error, hint=view.hint)
    return False


def _empty(view: BridgeView | None) -> bool:
    return view is None or view.state not in {BridgeState.INSERTED, BridgeState.INSERTING, BridgeState.EJECTING}
