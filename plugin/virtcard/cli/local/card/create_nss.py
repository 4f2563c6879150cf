"""`virtcard card create-nss DIR`: an NSS database with the three certificates of QEMU's manual."""

from __future__ import annotations

from pathlib import Path

import click

from virtcard.cli.local.card.new import PASSWORD_OPTION
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.screen import say


@click.command("create-nss")
@click.argument("directory", metavar="DIR")
@click.option("--subject", metavar="DN", required=True, help="Whom the certificates name, like CN=John Doe.")
@click.option(PASSWORD_OPTION, metavar="FILE", help="Its password; - is standard input. Else it is asked for.")
def verb(directory: str, subject: str, password_file: str | None) -> None:
    """Make an NSS database with three certificates.

    They are id-cert, signing-cert and encryption-cert, as the smart card chapter of QEMU's manual makes them.
    """
    from virtcard.card.soft.nss import create_nss

    password = secret("Password of the database", password_file, PASSWORD_OPTION, fresh=True)
    create_nss(Path(directory), subject, password)
    say(f"The NSS database is in {directory}.")
