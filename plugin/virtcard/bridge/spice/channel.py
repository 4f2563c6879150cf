"""A SPICE channel that is linked: a socket, and the manners that go with it."""

from __future__ import annotations

import select
import threading

from virtcard.bridge.link import Line
from virtcard.bridge.spice.manners import Manners
from virtcard.wire.spice import Message


class Channel:
    """Owns its link. One thread receives, any thread sends."""

    def __init__(self, link: Line, rest: bytes) -> None:
        self.link = link
        self.gone = False
        """The server ended it."""
        self._rest = rest
        self._manners = Manners()
        self._turn = threading.Lock()

    @property
    def has_rest(self) -> bool:
        """Messages came with the last bytes of the handshake: `receive` has something without a poll."""
        return bool(self._rest)

    @property
    def events(self) -> int:
        """What to poll for."""
        with self._turn:
            return self.link.events

    def receive(self) -> list[Message]:
        """What came and concerns this channel itself; nothing more once it is `gone`. Malformed, or PeerError."""
        rest, self._rest = self._rest, b""
        data = rest or self.link.receive()
        if data is None:
            return []
        if not data:
            self.gone = True
            return []
        messages, answers = self._manners.feed(data)
        if answers:
            self.send(answers)
        return messages

    def send(self, data: bytes) -> None:
        """Whole messages; PeerError when the server left too much unread."""
        with self._turn:
            self.link.send(data)

    def flush(self) -> None:
        """Send more of what the socket did not take."""
        with self._turn:
            self.link.flush()

    def ready(self, events: int) -> list[Message]:
        """Do what poll() says: send on, and `receive`."""
        if events & select.POLLOUT:
            self.flush()
        return self.receive() if events & ~select.POLLOUT else []
