"""The main channel of a session of our own: nobody watches the screen, so only a machine that moves matters."""

from __future__ import annotations

from virtcard.errors import PeerRefuses
from virtcard.wire.spice import NO_PORT, MainClientMessage, MainMessage, Message, SwitchHost, encode


def on_main(message: Message) -> bytes:
    """What is to be answered. PeerRefuses when the machine is elsewhere now; Malformed."""
    match message.type:
        case MainMessage.MIGRATE_BEGIN | MainMessage.MIGRATE_BEGIN_SEAMLESS:
            return encode(MainClientMessage.MIGRATE_CONNECT_ERROR)
        case MainMessage.MIGRATE_SWITCH_HOST:
            raise _moved(SwitchHost.parse(message.payload))
        case _:
            return b""


def _moved(place: SwitchHost) -> PeerRefuses:
    """We follow nobody to a host that a server names: the password would follow, too."""
    name = f"[{place.host}]" if ":" in place.host else place.host
    scheme, port = ("spice+tls", place.tls_port) if place.port in {0, NO_PORT} else ("spice", place.port)
    return PeerRefuses(f"The virtual machine has moved to {place.host}.", hint=f"Connect to {scheme}://{name}:{port}.")
