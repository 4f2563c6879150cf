"""`virtcard card passwd NAME`: another PIN."""

from __future__ import annotations

import click

from virtcard.cli.local.card.place import chosen
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.local.card.tries import check_open, unblock_hint, wrong
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
    from virtcard.card.soft.layout import LAYOUTS
    from virtcard.card.soft.pins import Pins

    store = chosen(choice)
    data = store.read(name)
    check_open("PIN", data.pin.tries_left, unblock_hint(name))
    rule = LAYOUTS[data.type].pin
    old = rule.check(secret("PIN", pin_file, "--pin-file"))
    new = rule.check(secret("New PIN", new_pin_file, "--new-pin-file", fresh=True))
    with store.open(name) as card:
        outcome = Pins(card).change_pin(old, new)
    if not outcome.ok:
        raise wrong("PIN", outcome.tries_left, unblock_hint(name))
    say(f"The card {name} has a new PIN.")
