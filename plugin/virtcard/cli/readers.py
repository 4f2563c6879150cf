"""`virtcard readers`: the host's PC/SC readers."""

from __future__ import annotations

import click

from virtcard.cli import shapes
from virtcard.cli.away import warn_of
from virtcard.cli.options import Choice
from virtcard.cli.screen import say_json, table

TITLES = ("Name", "Card", "ATR", "Used by")


@click.command("readers")
@click.option("--json", "as_json", is_flag=True, help="A list of readers as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> None:
    """List the host's card readers.

    With the cards in them, and the domains that use them.
    """
    with choice.open() as client:
        objects = client.objects()
        warn_of("pcscd", client)
    found = shapes.readers(objects)
    if as_json:
        say_json(found)
        return
    names = {each["uuid"]: each["name"] for each in shapes.domains(objects)}
    table(TITLES, [_row(each, names) for each in found])


def _row(reader: shapes.Reader, names: dict[str, str]) -> tuple[str, ...]:
    users = ", ".join(names.get(uuid, uuid) for uuid in reader["domains"])
    return (reader["name"], "present" if reader["present"] else "-", reader["atr"] or "-", users or "-")
