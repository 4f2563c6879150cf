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
        domain = client.properties(path, DOMAIN)
    which = f" in slot {slot['slot']}" if slot else ""
    has_reader = domain["Live"] or domain["HotPlugged"]
    empty = f"The virtual reader{which} of domain '{vm}' is empty" if has_reader else f"Domain '{vm}' has no card"
    wish = "" if slot.get("slot") else domain["Wish"]
    say(f"{empty}{_later(wish, config=config)}.")


def _later(wish: str, *, config: bool) -> str:
    """What the next start of the machine brings into its first reader."""
    if config:
        return ", and its metadata asks for none"
    return f"; its next start asks for {wish} again" if wish else ""
