"""`virtcard list`: the domains and their virtual readers."""

from __future__ import annotations

import click

from virtcard.cli.options import Choice
from virtcard.cli.screen import say_json, table
from virtcard.cli.shapes import Domain, domains

TITLES = ("Id", "Name", "State", "Reader", "Card")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="A list of domains as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> None:
    """List domains and their virtual readers.

    Every domain is there, running or not. "-" means none.
    """
    with choice.open() as client:
        found = domains(client.objects())
    if as_json:
        say_json(found)
    else:
        table(TITLES, [row(each) for each in found])


def row(domain: Domain) -> tuple[str, ...]:
    """One line; "-" means none, as in `virsh list`. Whose card is not virtcardd's matter is told behind the reader."""
    number = "-" if domain["id"] is None else str(domain["id"])
    elsewhere = domain["foreign"] or domain["mode"].replace("bridge", "")
    reader = f"{domain['reader']} ({elsewhere})" if elsewhere else domain["reader"]
    return (number, domain["name"], domain["state"], reader, domain["card"] or "-")
