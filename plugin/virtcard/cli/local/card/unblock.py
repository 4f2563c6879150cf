"""`virtcard card unblock NAME`: another PIN by the PUK."""

from __future__ import annotations

from dataclasses import replace

import click

from virtcard.cli.local.card.place import chosen
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.local.card.tries import check_open, lost_hint, wrong
from virtcard.cli.options import Choice
from virtcard.cli.screen import say


@click.command("unblock")
@click.argument("name")
@click.option("--puk-file", metavar="FILE", help="The PUK; - is standard input. Else it is asked for.")
@click.option("--pin-file", metavar="FILE", help="The new PIN; - is standard input. Else it is asked for.")
@click.pass_obj
def verb(choice: Choice, name: str, puk_file: str | None, pin_file: str | None) -> None:
    """Set a new PIN by the PUK.

    The PIN gets all its tries back. A wrong PUK costs one of the PUK's.
    """
    from virtcard.card.soft.layout import LAYOUTS
    from virtcard.card.soft.pins import Pins

    store = chosen(choice)
    data = store.read(name)
    check_open("PUK", data.puk.tries_left, lost_hint(name))
    layout = LAYOUTS[data.type]
    # A guest may have set a shorter one by CHANGE REFERENCE DATA: only what no PUK can be costs no try.
    puk = replace(layout.puk, minimum=1).check(secret("PUK", puk_file, "--puk-file"))
    pin = layout.pin.check(secret("New PIN", pin_file, "--pin-file", fresh=True))
    with store.open(name) as card:
        outcome = Pins(card).unblock(puk, pin)
    if not outcome.ok:
        raise wrong("PUK", outcome.tries_left, lost_hint(name))
    say(f"The card {name} has a new PIN, with all its tries.")
