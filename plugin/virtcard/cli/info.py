"""`virtcard info VM`: everything about one domain."""

from __future__ import annotations

from typing import Any

import click

from virtcard.cli.advice import PENDING, POWER_CYCLE
from virtcard.cli.complete import vms
from virtcard.cli.door import Door
from virtcard.cli.options import Choice
from virtcard.cli.screen import clock, fields, say_json, warn
from virtcard.cli.shapes import Bridge, Info, bridges, domain, finding
from virtcard.cli.slots import named
from virtcard.cli.traffic import commands, traffic
from virtcard.errors import Disconnected
from virtcard.names import DOMAIN


@click.command("info")
@click.argument("vm", shell_complete=vms)
@click.option("--json", "as_json", is_flag=True, help="The domain, its bridges and findings as JSON.")
@click.pass_obj
def verb(choice: Choice, vm: str, as_json: bool) -> None:
    """Show everything about one domain.

    That is its virtual reader, its card, its bridge, and what would keep it from starting with a reader.
    """
    with choice.open() as client:
        found = look(client, vm)
    if as_json:
        say_json(found)
    else:
        _show(found)


def look(client: Door, vm: str) -> Info:
    """All that is known of a domain."""
    path = client.find_domain(vm)
    shape = domain(client.properties(path, DOMAIN))
    mine = [each for each in bridges(client.objects()) if each["domain"] == shape["uuid"]]
    return Info(**shape, bridges=mine, findings=[finding(each) for each in _check(client, path)])


def _check(client: Door, path: str) -> Any:
    """What Check finds; nothing while libvirt is away, where the rest is worth showing all the same."""
    try:
        (findings,) = client.call(path, DOMAIN, "Check", "a{sv}", ({},))
    except Disconnected:
        return []
    return findings


def _show(found: Info) -> None:
    fields(
        [
            ("Id", "-" if found["id"] is None else str(found["id"])),
            ("Name", found["name"]),
            ("UUID", found["uuid"]),
            ("State", found["state"]),
            ("Persistent", _yes(found["persistent"])),
            ("Enabled", _yes(found["enabled"])),
            ("Running with reader", _yes(found["live"])),
            ("Reader", found["reader"]),
            ("Mode", found["mode"] or "-"),
            *([("Hot-plugged", named(found["hotplugged"]))] if found["hotplugged"] else []),
            ("Other smart card", found["foreign"] or "-"),
            ("Wish", found["wish"] or "-"),
            *([("Tags", " ".join(found["tags"]))] if found["tags"] else []),
            ("Card", found["card"] or "-"),
            *(pair for bridge in found["bridges"] for pair in _bridge(bridge, several=bool(found["hotplugged"]))),
            *_error("Last error", found["last_error"], found["hint"]),
        ]
    )
    for each in found["findings"]:
        warn(each["message"], each["hint"])
    if found["reader"] == "pending-power-cycle":
        warn(PENDING, POWER_CYCLE)


def _bridge(bridge: Bridge, *, several: bool) -> list[tuple[str, str]]:
    state = f"{bridge['state']} since {clock(bridge['since'])}"
    pairs = [
        (
            f"Bridge of slot {bridge['slot']}" if several else "Bridge",
            f"{state}, {bridge['source'] or 'no card'}, {traffic(bridge)}",
        ),
        *([("Commands", commands(bridge["commands"]))] if bridge["commands"] else []),
        *([("Traced by", ", ".join(bridge["traced_by"]))] if bridge["traced_by"] else []),
        ("Endpoint", bridge["endpoint"]),
    ]
    return [*pairs, *_error("Bridge error", bridge["last_error"], bridge["hint"])]


def _error(title: str, sentence: str, hint: str) -> list[tuple[str, str]]:
    """A line for what went wrong, and one for what to do."""
    return [(title, sentence), *([("", f"hint: {hint}")] if hint else [])] if sentence else []


def _yes(value: bool) -> str:
    return "yes" if value else "no"
