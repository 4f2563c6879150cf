"""`virtcard card unblock NAME`: another PIN by the PUK."""

from __future__ import annotations

import click

from virtcard.cli.complete import cards
from virtcard.cli.local.card.place import chosen
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.options import Choice
from virtcard.cli.screen import say


@click.command("unblock")
@click.argument("name", shell_complete=cards)
@click.option("--puk-file", metavar="FILE", help="The PUK; - is standard input. Else it is asked for.")
@click.option("--pin-file", metavar="FILE", help="The new PIN; - is standard input. Else it is asked for.")
@click.pass_obj
def verb(choice: Choice, name: str, puk_file: str | None, pin_file: str | None) -> None:
    """Set a new PIN by the PUK.

    The PIN gets all its tries back. A wrong PUK costs one of the PUK's.
    """
    from virtcard.card.soft.tries import check_open, lost_hint

    place = chosen(choice)
    check_open("PUK", place.card(name).puk_tries, lost_hint(name))
    puk = secret("PUK", puk_file, "--puk-file")
    place.unblock(name, puk, secret("New PIN", pin_file, "--pin-file", fresh=True))
    say(f"The card {name} has a new PIN, with all its tries.")
