"""`virtcard card passwd NAME`: another PIN."""

from __future__ import annotations

import click

from virtcard.cli.local.card.place import chosen
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.options import Choice
from virtcard.cli.screen import say


@click.command("passwd")
@click.argument("name")
@click.option("--pin-file", metavar="FILE", help="The PIN as it is; - is standard input. Else it is asked for.")
@click.option("--new-pin-file", metavar="FILE", help="The new PIN; - is standard input. Else it is asked for.")
@click.pass_obj
def verb(choice: Choice, name: str, pin_file: str | None, new_pin_file: str | None) -> None:
    """Change the PIN of a software card.

    A wrong one costs a try, as on any card.
    """
    from virtcard.card.soft import upkeep
    from virtcard.card.soft.tries import check_open, unblock_hint

    store = chosen(choice)
    check_open("PIN", store.read(name).pin.tries_left, unblock_hint(name))
    old = secret("PIN", pin_file, "--pin-file")
    upkeep.change_pin(store, name, old, secret("New PIN", new_pin_file, "--new-pin-file", fresh=True))
    say(f"The card {name} has a new PIN.")
