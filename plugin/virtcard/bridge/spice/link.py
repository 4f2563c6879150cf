"""What the bridge gets in place of a socket: VSCard on this side, SPICE's channels on the other."""

from __future__ import annotations

import select
import threading
from contextlib import suppress

from virtcard.bridge.poller import Wakeup
from virtcard.bridge.spice.channel import Channel
from virtcard.bridge.spice.moved import on_main
from virtcard.bridge.spice.reader import Reader
from virtcard.errors import Disconnected, PeerError, VirtcardError
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import Message


class SpiceLink:
    """A `Line` of the smart card channel `card`, and the `main` channel when the session is our own. Owns both.
    The worker receives while others send.

    One descriptor stands for all: an epoll with the sockets, and a bell for what is said to the session from here.
    """

    events = select.POLLIN

    def __init__(self, place: str, card: Channel, main: Channel | None) -> None:
        self.failure: VirtcardError | None = None
        self._place = place
        self._card = card
        self._main = main
        self._reader = Reader()
        self._said = bytearray()
        self._turn = threading.Lock()
        self._bell = Wakeup()
        self._epoll = select.epoll()
        self._epoll.register(self._bell.fileno(), select.EPOLLIN)
        for channel in self._channels():
            self._epoll.register(channel.link.fileno(), channel.events)
        if any(channel.has_rest for channel in self._channels()):
            self._bell.wake()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._epoll.fileno()

    def peer_pid(self) -> int | None:
        """The process at the other end of a unix socket."""
        return self._card.link.peer_pid()

    def receive(self) -> bytes | None:
        """VSCard that came; b"" when the session is over, with the reason in `failure`; None when there is nothing."""
        if self.failure is None:
            self._serve_safely()
        with self._turn:
            said = bytes(self._said)
            self._said.clear()
        if self.failure is None:
            return said or None
        self._bell.wake()  # so that the end is heard after the last words
        return said

    def unread(self) -> bool:
        """Something came, or the server went, that `receive` has not told yet."""
        return self._card.has_rest or self._card.link.unread()

    def send(self, data: bytes) -> None:
        """Whole VSCard messages of the session; PeerError when the server left too much unread."""
        with self._turn:
            server, session = self._reader.from_session(data)
            self._said += session
        if session:
            self._bell.wake()
        if server:
            self._card.send(server)
            self._watch(self._card)

    def flush(self) -> None:
        """Nothing: `receive` sends on what was kept."""

    def shutdown(self) -> None:
        """End the conversation, and wake whoever polls."""
        for channel in self._channels():
            channel.link.shutdown()

    def close(self) -> None:
        """The card's channel first: then the server itself takes the card out of the guest's reader."""
        for channel in self._channels():
            channel.link.close()
        self._epoll.close()
        self._bell.close()

    def _channels(self) -> list[Channel]:
        return [self._card, *([self._main] if self._main else [])]

    def _serve_safely(self) -> None:
        try:
            self._serve()
        except Malformed as fault:
            self._fail(PeerError(f"{self._place} broke the SPICE protocol: {fault}."))
        except VirtcardError as error:
            self._fail(error)

    def _serve(self) -> None:
        for number, ready in self._epoll.poll(0):
            if number == self._bell.fileno():
                self._bell.clear()
                ready_of = dict.fromkeys(self._channels(), 0)
            else:
                ready_of = {channel: ready for channel in self._channels() if channel.link.fileno() == number}
            for channel, events in ready_of.items():
                self._serve_channel(channel, events)

    def _serve_channel(self, channel: Channel, events: int) -> None:
        messages = channel.receive() if channel.has_rest else channel.ready(events)
        for message in messages:
            self._hear(channel, message)
        self._watch(channel)
        if channel.gone:
            self._fail(channel.link.failure or self._ended(channel))

    def _hear(self, channel: Channel, message: Message) -> None:
        if channel is self._main:
            if answer := on_main(message):
                channel.send(answer)
            return
        with self._turn:
            server, session = self._reader.from_server(message)
            self._said += session
        if server:
            channel.send(server)

    def _ended(self, channel: Channel) -> Disconnected:
        if self._main is None:
            return Disconnected("The viewer's session has ended, and the card's channel with it.")
        if channel is self._main:
            return Disconnected(f"{self._place} ended the session: the machine stopped, or a viewer came.")
        return Disconnected(f"{self._place} ended the channel of the smart card.")

    def _watch(self, channel: Channel) -> None:
        """Poll for what the channel waits for."""
        with suppress(OSError, ValueError):  # closed meanwhile
            self._epoll.modify(channel.link.fileno(), channel.events)

    def _fail(self, error: VirtcardError) -> None:
        self.failure = self.failure or error
