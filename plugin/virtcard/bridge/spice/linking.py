"""Getting one SPICE channel linked, step by step: connect, link message, key, ticket, result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from virtcard.bridge.dial import Dial
from virtcard.bridge.link import Line
from virtcard.bridge.spice.channel import Channel
from virtcard.bridge.spice.choice import Choice
from virtcard.bridge.spice.ticket import encrypt
from virtcard.errors import Disconnected, PeerRefuses, VirtcardError
from virtcard.wire.spicelink import (
    Capability,
    ChannelType,
    LinkDecoder,
    LinkError,
    LinkReply,
    encode_link,
    encode_ticket,
)

_SENTENCES: Final = {
    LinkError.NEED_SECURED: ("{} takes this channel with TLS alone.", "Connect to spice+tls://HOST:TLS-PORT."),
    LinkError.NEED_UNSECURED: ("{} takes this channel without TLS alone.", "Connect to spice://HOST:PORT."),
    LinkError.VERSION_MISMATCH: ("{} speaks another version of SPICE.", ""),
    LinkError.PERMISSION_DENIED: (
        "{} does not accept the password.",
        "It may be wrong, not set yet, or its time may be over.",
    ),
    LinkError.CHANNEL_NOT_AVAILABLE: (
        "The virtual machine at {} has no SPICE smart card.",
        "Give it one with: virtcard enable VM --mode spice",
    ),
}


@dataclass(frozen=True, slots=True)
class Goal:
    """Which channel of whose session: `connection_id` 0 is a session of our own, about which `choice` is asked last."""

    place: str
    channel: ChannelType
    connection_id: int
    password: bytes = field(repr=False)
    choice: Choice


class Linking:
    """One channel on its way; owns the connection from the first step on. Poll `fileno()` for `events`."""

    def __init__(self, call: Dial, goal: Goal) -> None:
        self._call: Dial | None = call
        self._goal = goal
        self._link: Line | None = None
        self._decoder = LinkDecoder()
        self._reply: LinkReply | None = None

    @property
    def is_connected(self) -> bool:
        """Somebody took our call."""
        return self._link is not None

    def fileno(self) -> int:
        """The descriptor to poll."""
        return (self._call or self._the_link()).fileno()

    @property
    def events(self) -> int:
        """What to poll for."""
        return (self._call or self._the_link()).events

    def proceed(self) -> Channel | None:
        """The channel when it stands. Disconnected, PeerRefuses, PeerError or Malformed when it will not."""
        if self._call is not None:
            self._connect(self._call)
            return None
        link = self._the_link()
        link.flush()
        data = link.receive()
        if data == b"":
            raise link.failure or self._hung_up()
        if data:
            self._decoder.feed(data)
        return self._listen(link)

    def close(self) -> None:
        """Give up."""
        if self._call is not None:
            self._call.close()
        if self._link is not None:
            self._link.close()

    def _connect(self, call: Dial) -> None:
        self._link = call.proceed()
        if self._link is not None:
            self._call = None
            self._link.send(encode_link(self._goal.channel, self._goal.connection_id))

    def _listen(self, link: Line) -> Channel | None:
        if self._reply is None:
            self._reply = self._decoder.reply()
            if self._reply is not None:
                link.send(encode_ticket(self._ticket(self._reply)))
        if self._reply is None or (result := self._decoder.result()) is None:
            return None
        if result != LinkError.OK:
            raise self._refusal(result)
        self._link = None
        return Channel(link, self._decoder.rest())

    def _ticket(self, reply: LinkReply) -> bytes:
        if reply.error != LinkError.OK:
            raise self._refusal(reply.error)
        if not reply.can(Capability.AUTH_SPICE):
            raise PeerRefuses(
                f"{self._goal.place} wants SASL, and no password of SPICE's own.",
                hint="Let the server take tickets (in qemu.conf, spice_sasl = 0).",
            )
        if not reply.can(Capability.MINI_HEADER):
            raise PeerRefuses(f"{self._goal.place} is a SPICE server of before 2011.")
        if self._goal.channel == ChannelType.MAIN:
            self._goal.choice.confirm()
        return encrypt(self._goal.password, reply.public_key)

    def _refusal(self, error: LinkError) -> VirtcardError:
        if error in _SENTENCES:
            if error == LinkError.PERMISSION_DENIED:
                self._goal.choice.denied()
            sentence, hint = _SENTENCES[error]
            return PeerRefuses(sentence.format(self._goal.place), hint=hint)
        if error == LinkError.BAD_CONNECTION_ID:
            return Disconnected(f"The viewer's session at {self._goal.place} has just ended.")
        return PeerRefuses(f"{self._goal.place} refuses SPICE's link ({error.name}).")

    def _hung_up(self) -> VirtcardError:
        """spice-server hangs up on whoever asks for a channel that it does not have (reds_send_link_ack)."""
        if self._goal.channel == ChannelType.SMARTCARD and self._reply is None and not self._goal.choice.met:
            return self._refusal(LinkError.CHANNEL_NOT_AVAILABLE)
        return Disconnected(f"{self._goal.place} hung up.")

    def _the_link(self) -> Line:
        assert self._link is not None
        return self._link
