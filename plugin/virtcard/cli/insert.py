"""`virtcard insert VM [SOURCE]`: put a card in the virtual reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from virtcard.cli.busy import busy
from virtcard.cli.complete import sources, vms
from virtcard.cli.options import Choice
from virtcard.cli.screen import say, warn
from virtcard.cli.shapes import soft_card_names
from virtcard.cli.slots import slot_option
from virtcard.limits import CALL_PATIENCE
from virtcard.names import BRIDGE, DOMAIN

NO_BRIDGE = "/"
"""The object path that stands for none: the domain is off, and only its metadata was written."""


@click.command("insert")
@click.argument("vm", shell_complete=vms)
@click.argument("source", shell_complete=sources, required=False)
@click.option("--config", is_flag=True, help="Also write it into the domain's metadata, as the wish for every start.")
@slot_option
@click.pass_obj
def verb(choice: Choice, vm: str, source: str | None, config: bool, slot: Mapping[str, int]) -> None:
    """Put a card in a virtual reader.

    The domain must run, unless --config is given, which changes its configuration as enable does: on the system bus
    that takes an administrator. SOURCE is reader:GLOB, the card in a host reader whose name matches, or card:NAME, a
    software card. Without it, it is the card of the only host reader that holds one, or the only software card when no
    reader does. The policy must allow it, and may have somebody asked first.
    """
    if source == "":
        raise click.UsageError("SOURCE is empty; leave it out to take the only card that fits.")
    with choice.open() as client:
        body = (source or "", {"config": config, **slot})
        path = client.find_domain(vm)
        with busy("The card goes in; somebody may have to agree."):
            (bridge,) = client.call(path, DOMAIN, "Insert", "sa{sv}", body, timeout=CALL_PATIENCE)
        if bridge == NO_BRIDGE:
            wish = client.properties(path, DOMAIN)["Wish"]
            say(f"Domain '{vm}' is off; its metadata asks for {wish or source or 'the card'} now.")
            _check(source or "", soft_card_names(client.objects()))
        else:
            later = ", and its metadata asks for it" if config else ""
            say(f"{client.properties(bridge, BRIDGE)['Source'] or source} is in domain '{vm}'{later}.")


def _check(source: str, cards: Sequence[str]) -> None:
    """A software card may be made later, and a reader plugged in; a name that was mistyped waits for ever."""
    scheme, _, name = source.partition(":")
    if scheme == "card" and name not in cards:
        warn(f"There is no card {name} yet.", "'virtcard card list' shows the cards.")
