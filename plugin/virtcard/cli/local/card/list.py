"""`virtcard card list`: the cards of the store."""

from __future__ import annotations

import click

from virtcard.cli.local.card.place import chosen
from virtcard.cli.local.card.shapes import SoftCard, moment, soft_card, tries
from virtcard.cli.options import Choice
from virtcard.cli.screen import complain, say_json, table

TITLES = ("Name", "Type", "Serial", "Created", "PIN tries", "PUK tries")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="A list of cards as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> int:
    """List the software cards.

    One whose file is damaged is told on stderr, and the others are listed all the same.
    """
    cards, errors = chosen(choice).cards()
    found = [soft_card(card) for card in cards]
    for error in errors:
        complain(error.message, error.hint)
    if as_json:
        say_json(found)
    else:
        table(TITLES, [_row(each) for each in found])
    return errors[0].exit_code if errors else 0


def _row(card: SoftCard) -> tuple[str, ...]:
    created, pin, puk = moment(card["created"]), tries(card["pin_tries"]), tries(card["puk_tries"])
    return (card["name"], card["type"], str(card["serial"]), created, pin, puk)
