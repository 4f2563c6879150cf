"""Getting a verified link to an endpoint, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from virtcard import limits
from virtcard.bridge.backoff import Backoff
from virtcard.bridge.dial import Dial
from virtcard.bridge.link import Line
from virtcard.bridge.timers import Timers
from virtcard.errors import VirtcardError

Verify = Callable[[int], None]
"""Is this pid the peer that we expect? PeerError when not. Called on the worker's thread; pid 0 is one of another pid
namespace."""


class Caller:
    """Used by one worker thread. `begin` begins an attempt; `wake` brings it back here when there is news."""

    def __init__(
        self,
        begin: Callable[[], Dial],
        verify: Verify | None,
        timers: Timers,
        rng: Random | None,
        wake: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._verify = verify
        self._wake = wake
        self._backoff = Backoff(rng=rng)
        self._pause = timers.alarm(self._pause_over)
        self._patience = timers.alarm(self._patience_over)
        self._dial: Dial | None = None
        self._until: float | None = None
        self._due = True
        self._late = False
        self._greeted: float | None = None

    @property
    def has_news(self) -> bool:
        """`call` is due, or an attempt takes too long."""
        return self._due or self._late

    def call(self) -> None:
        """Begin an attempt, or tell one that it takes too long. Disconnected when it failed."""
        self._due = self._late = False
        if self._dial is not None:
            self._dial.overdue()
        else:
            self._dial = self._begin()
        self._look_at_clock()

    def target(self) -> tuple[int, int]:
        """Descriptor and events to poll; -1 between two attempts."""
        return (self._dial.fileno(), self._dial.events) if self._dial else (-1, 0)

    def proceed(self) -> Line | None:
        """Go on when `target` is ready: the link, when it stands. Disconnected, or PeerError from `verify`."""
        link = self._dial.proceed() if self._dial else None
        if link is None:
            self._look_at_clock()
            return None
        self._dial = None
        self._look_at_clock()
        try:
            self._check(link)
        except BaseException:
            link.close()
            raise
        return link

    def remark(self) -> VirtcardError | None:
        """Who was turned away since the last call, while we go on waiting."""
        if self._dial is None:
            return None
        remark, self._dial.remark = self._dial.remark, None
        return remark

    def succeeded(self) -> None:
        """The peer greeted us: the next loss is followed by a short pause."""
        self._greeted = time.monotonic()

    def retry(self, *, faulty: bool) -> None:
        """Call again after a pause. It gets longer, too, with a peer that is `faulty` soon after each greeting."""
        self._give_up()
        greeted, self._greeted = self._greeted, None
        if greeted is not None and not (faulty and time.monotonic() < greeted + limits.BACKOFF_MAX):
            self._backoff.reset()
        self._pause.start(self._backoff.next())

    def close(self) -> None:
        """Give up what is under way, for good."""
        self._give_up()
        self._pause.end()
        self._patience.end()

    def _give_up(self) -> None:
        self._pause.stop()
        self._late = False
        self._due = False
        if self._dial is not None:
            self._dial.close()
            self._dial = None
        self._look_at_clock()

    def _look_at_clock(self) -> None:
        """Come back when the attempt takes too long."""
        until = self._dial.until if self._dial else None
        if until == self._until:
            return
        self._until = until
        self._patience.stop()
        if until is not None:
            self._patience.start(max(0.0, until - time.monotonic()))

    def _check(self, link: Line) -> None:
        pid = link.peer_pid()
        if self._verify is not None and pid is not None:
            self._verify(pid)

    def _pause_over(self) -> None:
        if self._pause.consume():
            self._due = True
            self._wake()

    def _patience_over(self) -> None:
        if self._patience.consume():
            self._late = True
            self._wake()
