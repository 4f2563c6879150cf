"""`virtcard card delete NAME`: a card and its keys, for good."""

from __future__ import annotations

import click

from virtcard.card.soft.cardfile import no_such_card
from virtcard.cli.complete import cards
from virtcard.cli.local.card.place import chosen, exists
from virtcard.cli.local.card.secrets import terminal
from virtcard.cli.options import Choice
from virtcard.cli.screen import say
from virtcard.errors import InvalidArgument


@click.command("delete")
@click.argument("name", shell_complete=cards)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def verb(choice: Choice, name: str, yes: bool) -> None:
    """Delete a software card for good.

    Nobody brings its keys back.
    """
    place = chosen(choice)
    if not exists(place, name):
        raise no_such_card(name)
    if not yes:
        if not terminal():
            raise InvalidArgument("There is no terminal to ask whether the card shall go.", hint="Say it with --yes.")
        click.confirm(f"Delete the card {name} and its keys for good?", abort=True, err=True)
    place.delete(name)
    say(f"The card {name} is deleted.")
