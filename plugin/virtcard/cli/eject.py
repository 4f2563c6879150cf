"""`virtcard eject VM`: take the card out of the virtual reader."""

from __future__ import annotations

from collections.abc import Mapping

import click

from virtcard.cli.busy import busy
from virtcard.cli.complete import vms
from virtcard.cli.options import Choice
from virtcard.cli.screen import say
from virtcard.cli.slots import slot_option
from virtcard.limits import CALL_PATIENCE
from virtcard.names import DOMAIN


@click.command("eject")
@click.argument("vm", shell_complete=vms)
@click.option("--config", is_flag=True, help="Also take it out of the domain's metadata, for every start from now on.")
@slot_option
@click.pass_obj
def verb(choice: Choice, vm: str, config: bool, slot: Mapping[str, int]) -> None:
    """Take the card out again.

    The virtual reader stays, and is empty. --config changes the domain's configuration: on the system bus that takes
    an administrator.
    """
    with choice.open() as client:
        options = {"config": config, **slot}
        path = client.find_domain(vm)
        with busy("The card goes out."):
            client.call(path, DOMAIN, "Eject", "a{sv}", (options,), timeout=CALL_PATIENCE)
    which = f" in slot {slot['slot']}" if slot else ""
    say(f"The virtual reader{which} of domain '{vm}' is empty.")
