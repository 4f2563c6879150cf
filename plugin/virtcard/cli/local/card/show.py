"""`virtcard card show NAME`: one card and its keys."""

from __future__ import annotations

import click

from virtcard.cli.complete import cards
from virtcard.cli.local.card.place import chosen
from virtcard.cli.local.card.shapes import Key, moment, tries, with_keys
from virtcard.cli.options import Choice
from virtcard.cli.screen import fields, say_json


@click.command("show")
@click.argument("name", shell_complete=cards)
@click.option("--json", "as_json", is_flag=True, help="The card and its keys as JSON.")
@click.pass_obj
def verb(choice: Choice, name: str, as_json: bool) -> None:
    """Show a software card and its keys.

    Nothing secret is shown, and no PIN is needed.
    """
    card = with_keys(chosen(choice).card(name))
    if as_json:
        say_json(card)
        return
    fields(
        [
            ("Name", card["name"]),
            ("Type", card["type"]),
            ("Serial", str(card["serial"])),
            ("Created", moment(card["created"])),
            ("PIN tries", tries(card["pin_tries"])),
            ("PUK tries", tries(card["puk_tries"])),
            *((f"Key {key['slot']}", _key(key)) for key in card["keys"]),
        ]
    )


def _key(key: Key) -> str:
    until = f", until {moment(key['expires']).partition(' ')[0]}" if key["expires"] else ""
    return f"{key['algorithm']}, {key['origin']}, {key['subject'] or 'no certificate'}{until}"
