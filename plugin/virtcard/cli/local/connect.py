"""`virtcard connect ENDPOINT SOURCE`: go to a QEMU that listens, with a card, without a daemon."""

from __future__ import annotations

from pathlib import Path

import click

from virtcard.cli.complete import sources
from virtcard.cli.local.foreground import insecure_option, pki_option, security, serve


@click.command("connect")
@click.argument("endpoint")
@click.argument("source", shell_complete=sources)
@click.option("--reconnect/--no-reconnect", default=True, show_default=True, help="Try again when QEMU goes away.")
@pki_option
@click.option("--tls-hostname", metavar="NAME", default="", help="tls: the name in QEMU's certificate, if not HOST.")
@insecure_option
def verb(endpoint: str, source: str, *, reconnect: bool, pki: Path | None, tls_hostname: str, insecure: bool) -> None:
    """Bring a card to a QEMU that listens.

    This needs no virtcardd. The card is in the virtual reader until Ctrl-C. SOURCE is reader:GLOB, the card in a host
    reader whose name matches, or card:NAME, a software card. ENDPOINT is the chardev of QEMU's ccid-card-passthru:

    \b
    unix:///PATH         a socket on this machine
    tls://HOST:PORT      TCP with TLS
    tcp://HOST:PORT      TCP without, on the loopback device

    For tls the directory has ca-cert.pem, client-cert.pem and client-key.pem, as in QEMU's manual, and ca-crl.pem if
    certificates were revoked. QEMU's certificate must be of that authority and for HOST.
    """
    from virtcard.bridge.endpoint import parse_endpoint
    from virtcard.cli.local.source import opened

    place = parse_endpoint(endpoint)
    tls = security(place, pki=pki, hostname=tls_hostname, insecure=insecure)
    with opened(source) as card:
        serve(place, card, source, reconnect=reconnect, tls=tls)
