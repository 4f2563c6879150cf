"""One bridge in the foreground, without a daemon: what `connect` and `listen` share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from virtcard.cli.screen import say, warn
from virtcard.errors import Failed, InvalidArgument
from virtcard.limits import ACK_PATIENCE, EJECT_PATIENCE

if TYPE_CHECKING:
    from virtcard.bridge.endpoint import Endpoint
    from virtcard.bridge.runner import Bridge, BridgeStatus
    from virtcard.bridge.spice.settings import SpiceSettings
    from virtcard.bridge.tls import TlsSettings
    from virtcard.card.base import Card

LEAVE_PATIENCE = EJECT_PATIENCE + 2 * ACK_PATIENCE
"""Seconds for the orderly end: the ceremony, CardRemove and ReaderRemove."""

LOOKING = "Looking for the virtual machine at {endpoint}."
WAITING = "Waiting for the virtual machine at {endpoint}."
SENTENCES = {
    "empty": "The virtual reader is empty.",
    "inserted": "{source} is in the virtual reader.",
    "ejecting": "Taking the card out.",
}
ENDS = frozenset({"connecting", "failed", "closed"})
"""States in which a bridge has no machine; without reconnecting it ends there."""

pki_option = click.option(
    "--pki",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="tls: where the certificates are; else ~/.pki/virtcard, or virtcard, libvirt-chardev or qemu in /etc/pki.",
)
insecure_option = click.option(
    "--insecure", is_flag=True, help="tcp: plain TCP over a network, with PINs in clear, is meant."
)


def security(
    endpoint: Endpoint, *, pki: Path | None, hostname: str = "", peers: tuple[str, ...] = (), insecure: bool
) -> TlsSettings | None:
    """How to secure it; InvalidArgument for plain TCP over a network, Failed when a file of TLS is wrong."""
    from virtcard.bridge.endpoint import Scheme
    from virtcard.bridge.tls import Side, TlsSettings, check_own, default_directory

    if endpoint.scheme is Scheme.TLS:
        settings = TlsSettings(pki or default_directory(), hostname, peers)
        check_own(settings, Side.SERVER if endpoint.listen else Side.CLIENT)
        return settings
    if pki or hostname or peers:
        raise InvalidArgument(f"{endpoint} has no TLS.", hint="Write tls://HOST:PORT.")
    if endpoint.scheme.carrier is Scheme.TCP:
        _warn_of_plain(endpoint, insecure=insecure)
    return None


def serve(
    endpoint: Endpoint,
    card: Card,
    source: str,
    *,
    reconnect: bool = True,
    tls: TlsSettings | None = None,
    spice: SpiceSettings | None = None,
) -> None:
    """Run the bridge until it ends, Ctrl-C or SIGTERM, and leave in order; Failed when it ended with an error."""
    from virtcard.bridge.runner import Bridge
    from virtcard.card.selection import Selection

    tell = _teller(endpoint, source, reconnect=reconnect)
    bridge = Bridge(endpoint, tell, reconnect=reconnect, tls=tls, spice=spice)
    tell(bridge.status)
    with _terminable():
        try:
            bridge.start()
            bridge.insert(Selection(card))
            bridge.join()
        finally:
            _leave(bridge)
    if error := bridge.status.last_error:
        raise Failed(error, hint=bridge.status.hint)


def _warn_of_plain(endpoint: Endpoint, *, insecure: bool) -> None:
    from virtcard.domain.tcp import is_loopback

    if is_loopback(endpoint.host):
        return
    secured = "spice+tls://" if endpoint.scheme.is_spice else "tls://"
    sentence = f"Plain TCP at {endpoint} carries PINs in clear, and nobody knows who is at the other end."
    if not insecure:
        raise InvalidArgument(sentence, hint=f"Use {secured}; or say --insecure if you mean it.")
    warn(sentence, f"Use {secured}.")


def _leave(bridge: Bridge) -> None:
    bridge.stop()
    if not bridge.join(LEAVE_PATIENCE):
        warn("The virtual machine did not confirm that the card is out.")


def _teller(endpoint: Endpoint, source: str, *, reconnect: bool) -> Callable[[BridgeStatus], None]:
    """Says what a person wants to know, once: what ends the command is for the end to tell."""
    told = {"sentence": "", "error": ""}
    sentences = {"connecting": WAITING if endpoint.listen else LOOKING, **SENTENCES}

    def tell(status: BridgeStatus) -> None:
        sentence = sentences.get(status.state, "").format(endpoint=endpoint, source=source)
        if sentence not in ("", told["sentence"]):
            told["sentence"] = sentence
            say(sentence)
            sys.stdout.flush()
        goes_on = reconnect or status.state not in ENDS
        if status.last_error not in ("", told["error"]) and goes_on:
            warn(status.last_error)
        told["error"] = status.last_error

    return tell


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the command like Ctrl-C, but as a success: that is how service managers stop things."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise click.exceptions.Exit(0)
