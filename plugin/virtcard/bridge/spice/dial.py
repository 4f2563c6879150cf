"""One attempt to get a card's channel: a session of our own or a viewer's, then the channel in it."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Callable

from virtcard import limits
from virtcard.bridge.dial import Dial, failure
from virtcard.bridge.endpoint import Endpoint
from virtcard.bridge.spice.channel import Channel
from virtcard.bridge.spice.choice import OWN, Choice
from virtcard.bridge.spice.link import SpiceLink
from virtcard.bridge.spice.linking import Goal, Linking
from virtcard.bridge.spice.moved import on_main
from virtcard.errors import Disconnected, PeerError
from virtcard.wire.malformed import Malformed
from virtcard.wire.spice import MainMessage, parse_session_id
from virtcard.wire.spicelink import ChannelType


class SpiceDial(Dial):
    """Links the main channel unless there is a session to join, hears its number, and links the card's channel.

    `call` begins a connection to the server, of which each channel has one.
    """

    def __init__(self, endpoint: Endpoint, call: Callable[[], Dial], password: bytes, choice: Choice) -> None:
        self._endpoint = endpoint
        self._call = call
        self._password = password
        self._choice = choice
        self._session = choice.choose()
        self._main: Channel | None = None
        self._linking: Linking | None = None
        self._epoll = select.epoll()
        self.until = time.monotonic() + limits.CONNECT_PATIENCE
        try:
            self._begin(ChannelType.MAIN if self._session == OWN else ChannelType.SMARTCARD)
        except BaseException:
            self._epoll.close()
            raise

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._epoll.fileno()

    def proceed(self) -> SpiceLink | None:
        """The link when the card's channel stands."""
        try:
            for number, events in self._epoll.poll(0):
                if self._main is not None and number == self._main.link.fileno():
                    self._hear(self._main, events)
                elif self._linking is not None and (channel := self._step(self._linking)) is not None:
                    return self._linked(channel)
        except Malformed as fault:
            raise PeerError(f"{self._endpoint} broke the SPICE protocol: {fault}.") from fault
        return None

    def overdue(self) -> None:
        """Nobody answered, or not to the end."""
        raise failure(self._endpoint, errno.ETIMEDOUT)

    def close(self) -> None:
        """Give up."""
        if self._linking is not None:
            self._linking.close()
        if self._main is not None:
            self._main.link.close()
        self._epoll.close()

    def _begin(self, channel: ChannelType) -> None:
        goal = Goal(str(self._endpoint), channel, self._session, self._password, self._choice)
        try:
            self._linking = Linking(self._call(), goal)
        except Disconnected:
            self._choice.unreachable()
            raise
        self._watch(self._linking)

    def _step(self, linking: Linking) -> Channel | None:
        try:
            channel = linking.proceed()
        except Disconnected:
            if not linking.is_connected:
                self._choice.unreachable()
            raise
        if channel is None:
            self._watch(linking)
        return channel

    def _linked(self, channel: Channel) -> SpiceLink | None:
        self._linking = None
        if self._session == OWN:
            self._main = channel
            self._epoll.modify(channel.link.fileno(), channel.events)
            self._hear(channel, select.POLLIN)
            return None
        self._choice.linked(self._session, own=self._main is not None)
        self._epoll.close()
        return SpiceLink(str(self._endpoint), channel, self._main)

    def _hear(self, main: Channel, events: int) -> None:
        """The first message on the main channel tells the session; behind it come pings and a name."""
        for message in main.receive() if main.has_rest else main.ready(events):
            if message.type == MainMessage.INIT and self._session == OWN:
                self._session = parse_session_id(message.payload)
                self._begin(ChannelType.SMARTCARD)
            elif answer := on_main(message):
                main.send(answer)
        if main.gone:
            raise Disconnected(f"{self._endpoint} ended the session before it began.")
        self._epoll.modify(main.link.fileno(), main.events)

    def _watch(self, linking: Linking) -> None:
        """Its descriptor changes: a closed one has left the epoll by itself."""
        try:
            self._epoll.modify(linking.fileno(), linking.events)
        except FileNotFoundError:
            self._epoll.register(linking.fileno(), linking.events)
