"""`virtcard listen ENDPOINT SOURCE`: wait for a QEMU that calls, with a card, without a daemon."""

from __future__ import annotations

from pathlib import Path

import click

from virtcard.cli.complete import sources
from virtcard.cli.local.foreground import insecure_option, pki_option, security, serve
from virtcard.cli.options import Choice


@click.command("listen")
@click.argument("endpoint")
@click.argument("source", shell_complete=sources)
@click.option("--reconnect/--no-reconnect", default=True, show_default=True, help="Wait again when QEMU goes away.")
@pki_option
@click.option(
    "--peer",
    "peers",
    metavar="GLOB",
    multiple=True,
    help="tls: take only who has a certificate for such a name; may be given several times.",
)
@insecure_option
@click.pass_obj
def verb(
    choice: Choice,
    *,
    endpoint: str,
    source: str,
    reconnect: bool,
    pki: Path | None,
    peers: tuple[str, ...],
    insecure: bool,
) -> None:
    """Wait with a card for a QEMU that calls.

    This needs no virtcardd. A machine that migrates calls again from its new host, and finds its card. SOURCE is as
    for 'virtcard connect', and ENDPOINT is where to wait:

    \b
    unix:///PATH         a socket on this machine
    tls://ADDRESS:PORT   TCP with TLS
    tcp://ADDRESS:PORT   TCP without, on the loopback device

    For tls the directory has ca-cert.pem, server-cert.pem and server-key.pem, as in QEMU's manual, and ca-crl.pem if
    certificates were revoked. QEMU must show a certificate of that authority: client-cert.pem on its side.
    'virtcard enable --mode tcp --role connect' makes libvirt's QEMU call; this does it by hand, with reconnect-ms=1000
    in place of reconnect=1 from QEMU 9.2 on:

    \b
    -object tls-creds-x509,id=tls,dir=/etc/pki/qemu,endpoint=client
    -chardev socket,id=card,host=HOST,port=PORT,tls-creds=tls,reconnect=1
    -device usb-ccid -device ccid-card-passthru,chardev=card
    """
    from virtcard.bridge.endpoint import parse_endpoint
    from virtcard.cli.local.source import opened

    place = parse_endpoint(endpoint, listen=True)
    tls = security(place, pki=pki, peers=peers, insecure=insecure)
    with opened(source, choice) as card:
        serve(place, card, source, reconnect=reconnect, tls=tls)
