"""`virtcard card passwd NAME`: another PIN or PUK."""

from __future__ import annotations

import click

from virtcard.cli.complete import cards
from virtcard.cli.local.card.place import Place, chosen
from virtcard.cli.local.card.secrets import secret
from virtcard.cli.options import Choice
from virtcard.cli.screen import say


@click.command("passwd")
@click.argument("name", shell_complete=cards)
@click.option("--puk", is_flag=True, help="Change the PUK instead.")
@click.option("--pin-file", metavar="FILE", help="The PIN as it is; - is standard input. Else it is asked for.")
@click.option("--new-pin-file", metavar="FILE", help="The new PIN; - is standard input. Else it is asked for.")
@click.option("--puk-file", metavar="FILE", help="--puk: the PUK as it is, likewise.")
@click.option("--new-puk-file", metavar="FILE", help="--puk: the new PUK, likewise.")
@click.pass_obj
def verb(
    choice: Choice,
    *,
    name: str,
    puk: bool,
    pin_file: str | None,
    new_pin_file: str | None,
    puk_file: str | None,
    new_puk_file: str | None,
) -> None:
    """Change the PIN of a software card.

    Or its PUK, with --puk. A wrong one costs a try, as on any card.
    """
    if (pin_file or new_pin_file) if puk else (puk_file or new_puk_file):
        raise click.UsageError("--puk takes --puk-file and --new-puk-file, the PIN --pin-file and --new-pin-file.")
    place = chosen(choice)
    if puk:
        _change_puk(place, name, puk_file, new_puk_file)
    else:
        _change_pin(place, name, pin_file, new_pin_file)


def _change_pin(place: Place, name: str, old_file: str | None, new_file: str | None) -> None:
    from virtcard.card.soft.tries import check_open, unblock_hint

    check_open("PIN", place.card(name).pin_tries, unblock_hint(name))
    old = secret("PIN", old_file, "--pin-file")
    place.change_pin(name, old, secret("New PIN", new_file, "--new-pin-file", fresh=True))
    say(f"The card {name} has a new PIN.")


def _change_puk(place: Place, name: str, old_file: str | None, new_file: str | None) -> None:
    from virtcard.card.soft.tries import check_open, lost_hint

    check_open("PUK", place.card(name).puk_tries, lost_hint(name))
    old = secret("PUK", old_file, "--puk-file")
    place.change_puk(name, old, secret("New PUK", new_file, "--new-puk-file", fresh=True))
    say(f"The card {name} has a new PUK.")
