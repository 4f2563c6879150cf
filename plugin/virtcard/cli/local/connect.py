"""`virtcard connect ENDPOINT SOURCE`: go to a QEMU or a SPICE server that listens, with a card, without a daemon."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from virtcard.cli.complete import sources
from virtcard.cli.local.foreground import insecure_option, pki_option, security, serve
from virtcard.cli.local.spice import SpiceOptions, spice_options, spice_settings, with_password
from virtcard.cli.options import Choice


@click.command("connect")
@click.argument("endpoint")
@click.argument("source", shell_complete=sources)
@click.option("--reconnect/--no-reconnect", default=True, show_default=True, help="Try again when QEMU goes away.")
@pki_option
@click.option("--tls-hostname", metavar="NAME", default="", help="tls: the name in QEMU's certificate, if not HOST.")
@insecure_option
@spice_options
@click.pass_obj
def verb(
    choice: Choice,
    /,
    endpoint: str,
    source: str,
    *,
    reconnect: bool,
    pki: Path | None,
    tls_hostname: str,
    insecure: bool,
    **spice: Any,
) -> None:
    """Bring a card to a QEMU or a SPICE server that listens.

    This needs no virtcardd. The card is in the virtual reader until Ctrl-C. SOURCE is reader:GLOB, the card in a host
    reader whose name matches, or card:NAME, a software card: one of your own, and of the system's when you are root,
    unless --session or --system says it. ENDPOINT is the chardev of QEMU's ccid-card-passthru:

    \b
    unix:///PATH         a socket on this machine
    tls://HOST:PORT      TCP with TLS
    tcp://HOST:PORT      TCP without, on the loopback device

    or the SPICE server of a machine with a SPICE smart card (enable --mode spice):

    \b
    spice+tls://HOST:PORT   spice://HOST:PORT   spice+unix:///PATH

    For tls the directory has ca-cert.pem, client-cert.pem and client-key.pem, as in QEMU's manual, and ca-crl.pem if
    certificates were revoked. QEMU's certificate must be of that authority and for HOST.

    A SPICE server has one client. With --domain or --qmp the card goes in beside a viewer that is connected, and who
    cannot look connects with --take-over alone, which disconnects a viewer. Without --password-file the password is
    asked for when the server wants one.
    """
    from virtcard.bridge.endpoint import parse_endpoint
    from virtcard.cli.local.source import opened

    place = parse_endpoint(endpoint)
    options = SpiceOptions(**spice)
    tls = security(place, pki=pki, hostname=tls_hostname, insecure=insecure)
    settings = spice_settings(place, options, lambda: choice.bus)
    with opened(source, choice) as card:
        if settings is None:
            serve(place, card, source, reconnect=reconnect, tls=tls)
        else:
            run = partial(serve, place, card, source, reconnect=reconnect)
            with_password(settings, options, lambda chosen: run(spice=chosen))
