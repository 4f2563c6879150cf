"""`virtcard list`: the domains and their virtual readers."""

from __future__ import annotations

from collections.abc import Sequence

import click

from virtcard.cli.away import warn_of
from virtcard.cli.options import Choice
from virtcard.cli.screen import say_json, table
from virtcard.cli.shapes import Bridge, Domain, bridges, domains

TITLES = ("Id", "Name", "State", "Reader", "Card")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="A list of domains as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> None:
    """List domains and their virtual readers.

    Every domain is there, running or not. "-" means none. "+2 hot-plugged" are readers that the machine got while it
    runs: libvirt can neither migrate it nor restore what it saves of it before 'virtcard prepare-migrate'.
    """
    with choice.open() as client:
        objects = client.objects()
        warn_of("libvirt", client)
    found = domains(objects)
    if as_json:
        say_json(found)
    else:
        every = bridges(objects)
        table(TITLES, [row(each, [one for one in every if one["domain"] == each["uuid"]]) for each in found])


def row(domain: Domain, bridges: Sequence[Bridge]) -> tuple[str, ...]:
    """One line; "-" means none, as in `virsh list`. Whose card is not virtcardd's matter is told behind the reader."""
    number = "-" if domain["id"] is None else str(domain["id"])
    elsewhere = domain["foreign"] or domain["mode"].replace("bridge", "")
    reader = f"{domain['reader']} ({elsewhere})" if elsewhere else domain["reader"]
    if not domain["hotplugged"]:
        return (number, domain["name"], domain["state"], reader, domain["card"] or "-")
    cards = ", ".join(f"{each['slot']}: {each['source']}" for each in bridges if each["source"])
    marked = f"{reader} +{len(domain['hotplugged'])} hot-plugged"
    return (number, domain["name"], domain["state"], marked, cards or "-")
