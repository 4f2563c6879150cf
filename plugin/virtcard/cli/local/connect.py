"""`virtcard connect ENDPOINT SOURCE`: one bridge in the foreground, without a daemon."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from virtcard.cli.screen import say, warn
from virtcard.errors import Failed
from virtcard.limits import ACK_PATIENCE, EJECT_PATIENCE

if TYPE_CHECKING:
    from virtcard.bridge.endpoint import Endpoint
    from virtcard.bridge.runner import Bridge, BridgeStatus
    from virtcard.card.base import Card

LEAVE_PATIENCE = EJECT_PATIENCE + 2 * ACK_PATIENCE
"""Seconds for the orderly end: the ceremony, CardRemove and ReaderRemove."""

SENTENCES = {
    "connecting": "Looking for the virtual machine at {endpoint}.",
    "empty": "The virtual reader is empty.",
    "inserted": "{source} is in the virtual reader.",
    "ejecting": "Taking the card out.",
}


@click.command("connect")
@click.argument("endpoint")
@click.argument("source")
@click.option("--reconnect/--no-reconnect", default=True, show_default=True, help="Try again when QEMU goes away.")
def verb(endpoint: str, source: str, reconnect: bool) -> None:
    """Run one bridge here, without virtcardd.

    The card is in the virtual reader until Ctrl-C. SOURCE is reader:GLOB, the card in a host reader whose name
    matches, or card:NAME, a software card. ENDPOINT is the chardev of QEMU's ccid-card-passthru:

    \b
    unix:///PATH         tcp://HOST:PORT          go there
    unix-listen:///PATH  tcp-listen://HOST:PORT   wait there for QEMU
    """
    from virtcard.bridge.endpoint import parse_endpoint
    from virtcard.cli.local.source import opened

    place = parse_endpoint(endpoint)
    with opened(source) as card:
        serve(place, card, source, reconnect=reconnect)


def serve(endpoint: Endpoint, card: Card, source: str, *, reconnect: bool) -> None:
    """Run the bridge until it ends, Ctrl-C or SIGTERM, and leave in order; Failed when it ended with an error."""
    from virtcard.bridge.runner import Bridge
    from virtcard.card.selection import Selection

    tell = _teller(endpoint, source)
    bridge = Bridge(endpoint, tell, reconnect=reconnect)
    tell(bridge.status)
    with _terminable():
        try:
            bridge.start()
            bridge.insert(Selection(card))
            bridge.join()
        finally:
            _leave(bridge)
    if error := bridge.status.last_error:
        raise Failed(error)


def _leave(bridge: Bridge) -> None:
    bridge.stop()
    if not bridge.join(LEAVE_PATIENCE):
        warn("The virtual machine did not confirm that the card is out.")


def _teller(endpoint: Endpoint, source: str) -> Callable[[BridgeStatus], None]:
    """Says what a person wants to know, once."""
    told = {"sentence": "", "error": ""}

    def tell(status: BridgeStatus) -> None:
        sentence = SENTENCES.get(status.state, "").format(endpoint=endpoint, source=source)
        if sentence not in ("", told["sentence"]):
            told["sentence"] = sentence
            say(sentence)
            sys.stdout.flush()
        if status.last_error not in ("", told["error"]):
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
