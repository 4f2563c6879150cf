"""A call into a card as a bridge's thread makes it: it can be given up."""

from __future__ import annotations

import threading
from collections.abc import Callable

from virtcard.card.errand import Errand, errand
from virtcard.errors import CardError


class Sent(threading.Thread):
    """Makes the call at once; what came of it is `answer` or `error`."""

    def __init__(self, call: Callable[[], bytes]) -> None:
        super().__init__(daemon=True)
        self.answer: bytes | None = None
        self.error: CardError | None = None
        self._call = call
        self._errand = Errand()
        self._ready = threading.Event()
        self.start()
        assert self._ready.wait(5)

    def run(self) -> None:
        self._errand = errand()
        self._errand.begin()
        self._ready.set()
        try:
            self.answer = self._call()
        except CardError as error:
            self.error = error

    def give_up(self) -> None:
        """The guest has its error, and another thread takes over."""
        self._errand.give_up()

    def ended(self, seconds: float = 5) -> Sent:
        """Wait for it."""
        self.join(seconds)
        assert not self.is_alive()
        return self
