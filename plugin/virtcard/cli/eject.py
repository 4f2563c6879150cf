"""`virtcard eject VM`: take the card out of the virtual reader."""

from __future__ import annotations

import click

from virtcard.cli.options import Choice
from virtcard.cli.screen import say
from virtcard.limits import CALL_PATIENCE
from virtcard.names import DOMAIN


@click.command("eject")
@click.argument("vm")
@click.option("--config", is_flag=True, help="Also take it out of the domain's metadata, for every start from now on.")
@click.pass_obj
def verb(choice: Choice, vm: str, config: bool) -> None:
    """Take the card out again.

    The virtual reader stays, and is empty.
    """
    with choice.open() as client:
        client.call(client.find_domain(vm), DOMAIN, "Eject", "a{sv}", ({"config": config},), timeout=CALL_PATIENCE)
    say(f"The virtual reader of domain '{vm}' is empty.")
