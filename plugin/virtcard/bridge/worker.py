"""The thread of a bridge: it waits, receives, calls the card and dials. Everything that may block is here."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable

from virtcard.bridge.caller import Caller
from virtcard.bridge.cardcalls import CardCalls, GivenUp, let_go, unexpected
from virtcard.bridge.conversation import Conversation
from virtcard.bridge.core import Core
from virtcard.bridge.fault import describe
from virtcard.bridge.link import Line
from virtcard.bridge.poller import Poller, Wakeup
from virtcard.bridge.status import BridgeState
from virtcard.errors import CardError, Internal, PeerError, PeerRefuses, VirtcardError

log = logging.getLogger(__name__)


class Worker:
    """One generation of a bridge's thread; `run` is its life."""

    def __init__(self, core: Core, caller: Caller, wakeup: Wakeup, generation: int, *, reconnect: bool) -> None:
        self._core = core
        self._caller = caller
        self._poller = Poller(wakeup)
        self._cards = CardCalls(core, generation)
        self._reconnect = reconnect

    def run(self) -> None:
        """Work until the bridge is closed or this worker is given up."""
        core = self._core
        bulletin = core.bulletin
        try:
            while core.state is not BridgeState.CLOSED:
                self._turn_safely()
                # A card that is out is let go first: whoever hears of it may put it into another machine.
                if bulletin.news and core.seat.to_retire() is None:
                    bulletin.deliver()
            self._let_go_of_all()
            bulletin.deliver()
            core.closed.set()
        except GivenUp as end:
            if core.state is BridgeState.CLOSED:
                let_go(end.slot)

    def _turn_safely(self) -> None:
        """A fault of our own ends the bridge, and says so; never does its thread vanish."""
        try:
            self._turn()
        except GivenUp:
            raise
        except Exception as fault:  # noqa: BLE001 (it is logged, and the bridge ends)
            log.error("a bridge failed unexpectedly: %s", describe(fault))
            self._collapse()

    def _collapse(self) -> None:
        core = self._core
        with core.lock:
            if core.talk is not None:
                core.talk.close()
                core.talk = None
            self._caller.close()
            core.link_failed(Internal("virtcard made a mistake, and the bridge has ended."), again=False)
            core.end()

    def _let_go_of_all(self) -> None:
        """Cards that a bridge still has when it ends by a fault. One with a thread inside is let go by that thread."""
        core = self._core
        while True:
            with core.lock:
                slot = core.seat.to_retire()
                if slot is None:
                    core.deserted = True
                    return
                core.seat.retired(slot)
            let_go(slot)

    def _turn(self) -> None:
        core = self._core
        if core.chores and (chore := self._next_chore()) is not None:
            chore()
            return
        talk = core.talk
        if talk is None:
            self._await_peer()
        elif talk.commands:
            self._serve(talk)
        else:
            self._converse(talk)

    # The way of an APDU.

    def _converse(self, talk: Conversation) -> None:
        """Give what the peer sends to the session, and its command to the card.

        Often the next one is there when the last answer is out, and then nobody waits: poll is a system call more.
        """
        if not (self._at_once(talk) or self._waited(talk)):
            return
        if talk.commands:
            self._serve(talk)

    def _at_once(self, talk: Conversation) -> bool:
        """Something is there already. Not asked while the peer leaves our answers unread: only poll sees to those."""
        return talk.link.events == select.POLLIN and self._receive(talk)

    def _waited(self, talk: Conversation) -> bool:
        """Wait for the peer, or for news; has the peer sent something?"""
        link = talk.link
        ready = self._poller.wait(link.fileno(), link.events)
        if ready & select.POLLOUT:
            with self._core.lock:
                link.flush()
        return bool(ready & ~select.POLLOUT) and self._receive(talk)

    def _receive(self, talk: Conversation) -> bool:
        data = talk.link.receive()
        if data is None:
            return False
        with self._core.lock:
            if data:
                self._core.drive(talk.session.feed, data)
            else:
                self._hang_up(talk)
        return True

    def _serve(self, talk: Conversation) -> None:
        """Give the next command to the card that is in, and its answer to the session."""
        core = self._core
        with core.lock:
            slot = core.seat.seated
            if not talk.commands or slot is None:
                talk.commands.clear()
                return
            command = talk.commands.pop(0)
            slot.fresh = False
            core.enter(slot, goes_on=command.goes_on)
        error: CardError | None = None
        response = b""
        try:
            response = slot.card.transmit(command.command)
        except CardError as failure:
            error = failure
        except Exception as fault:  # noqa: BLE001 (it is logged, and the bridge goes on)
            error = unexpected(fault)
        with core.lock:
            self._cards.come_back(slot)
            if error is None:
                core.apdus += 1
                core.drive(talk.session.answer, command.ticket, response)
            else:
                core.command_failed(slot, command.ticket, error)

    # The rest, one piece at a time.

    def _next_chore(self) -> Callable[[], None] | None:
        core = self._core
        with core.lock:
            talk = core.talk
            if talk is not None and talk.over:
                self._hang_up(talk)
            chore = self._cards.leaving() or self._chore_of_link() or self._cards.coming()
            core.chores = chore is not None
            return chore

    def _chore_of_link(self) -> Callable[[], None] | None:
        if self._core.talk is not None:
            return None
        if self._core.stopping:
            return self._close
        return self._call_peer if self._caller.has_news else None

    # The peer.

    def _await_peer(self) -> None:
        if self._poller.wait(*self._caller.target()):
            self._reach(self._caller.proceed)

    def _call_peer(self) -> None:
        self._reach(self._caller.call)

    def _reach(self, step: Callable[[], Line | None]) -> None:
        try:
            link = step()
        except VirtcardError as error:
            with self._core.lock:
                self._lost(error)
        except Exception as fault:  # noqa: BLE001 (it is logged, and the bridge goes on)
            log.error("looking for the peer failed unexpectedly: %s", describe(fault))
            with self._core.lock:
                self._lost(Internal("virtcard could not check who answers."))
        else:
            self._greet(link)
            self._remark()

    def _remark(self) -> None:
        remark = self._caller.remark()
        if remark is not None:
            with self._core.lock:
                self._core.link_failed(remark, again=True)

    def _greet(self, link: Line | None) -> None:
        if link is None:
            return
        with self._core.lock:
            if self._core.stopping:
                link.close()
            else:
                self._core.begin(link)

    def _hang_up(self, talk: Conversation) -> None:
        talk.close()
        self._core.talk = None
        self._lost(talk.error or talk.link.failure)

    def _lost(self, error: VirtcardError | None) -> None:
        """The lock is held."""
        self._core.link_failed(error, again=self._reconnect and not isinstance(error, PeerRefuses))
        if self._core.stopping:
            self._caller.close()
        else:
            self._caller.retry(faulty=isinstance(error, PeerError))

    def _close(self) -> None:
        core = self._core
        with core.lock:
            if core.seat.to_retire() is None:
                self._caller.close()
                core.end()
