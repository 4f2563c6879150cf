"""Getting a verified link to an endpoint, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

from virtcard import limits
from virtcard.bridge.backoff import Backoff
from virtcard.bridge.dial import Dial, dial
from virtcard.bridge.endpoint import Endpoint, Scheme
from virtcard.bridge.link import Link
from virtcard.bridge.timers import Timers
from virtcard.errors import Disconnected

Verify = Callable[[int], None]
"""Is this pid the peer that we expect? PeerError when not. Called on the worker's thread; pid 0 is one of another pid
namespace."""


class Caller:
    """Used by one worker thread. `wake` brings it back here when `has_news` has become true."""

    def __init__(
        self, endpoint: Endpoint, verify: Verify | None, timers: Timers, rng: Random | None, wake: Callable[[], None]
    ) -> None:
        self._endpoint = endpoint
        self._verify = verify
        self._wake = wake
        self._backoff = Backoff(rng=rng)
        self._pause = timers.alarm(self._pause_over)
        self._patience = timers.alarm(self._patience_over)
        self._dial: Dial | None = None
        self._due = True
        self._late = False
        self._greeted: float | None = None

    @property
    def has_news(self) -> bool:
        """`call` is due, or an attempt takes too long."""
        return self._due or self._late

    def call(self) -> None:
        """Begin an attempt, or give up one that takes too long. Disconnected when it failed."""
        self._due = False
        if self._late:
            raise Disconnected(f"{self._endpoint} does not answer.")
        self._dial = dial(self._endpoint)
        if self._endpoint.scheme is Scheme.TCP:
            self._patience.start(limits.CONNECT_PATIENCE)

    def target(self) -> tuple[int, int]:
        """Descriptor and events to poll; -1 between two attempts."""
        return (self._dial.fileno(), self._dial.events) if self._dial else (-1, 0)

    def proceed(self) -> Link | None:
        """Go on when `target` is ready: the link, when it stands. Disconnected, or PeerError from `verify`."""
        link = self._dial.proceed() if self._dial else None
        if link is None:
            return None
        self._dial = None
        self._patience.stop()
        try:
            self._check(link)
        except BaseException:
            link.close()
            raise
        return link

    def succeeded(self) -> None:
        """The peer greeted us: the next loss is followed by a short pause."""
        self._greeted = time.monotonic()

    def retry(self, *, faulty: bool) -> None:
        """Call again after a pause. It gets longer, too, with a peer that is `faulty` soon after each greeting."""
        self.close()
        greeted, self._greeted = self._greeted, None
        if greeted is not None and not (faulty and time.monotonic() < greeted + limits.BACKOFF_MAX):
            self._backoff.reset()
        self._pause.start(self._backoff.next())

    def close(self) -> None:
        """Give up what is under way."""
        self._pause.stop()
        self._patience.stop()
        self._late = False
        self._due = False
        if self._dial is not None:
            self._dial.close()
            self._dial = None

    def _check(self, link: Link) -> None:
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
