"""`virtcard status`: how virtcardd stands."""

from __future__ import annotations

import click

from virtcard.cli import shapes
from virtcard.cli.options import Choice
from virtcard.cli.screen import fields, say_json
from virtcard.cli.traffic import traffic
from virtcard.names import MANAGER, ROOT_PATH


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="The daemon's state as JSON.")
@click.pass_obj
def verb(choice: Choice, as_json: bool) -> None:
    """Show how virtcardd stands.

    Its connections to libvirt and pcscd, and how much there is of everything.
    """
    with choice.open() as client:
        found = shapes.status(client.properties(ROOT_PATH, MANAGER), client.objects())
    if as_json:
        say_json(found)
    else:
        _show(found)


def _show(found: shapes.Status) -> None:
    fields(
        [
            ("virtcardd", f"{found['version']} ({found['instance']})"),
            ("libvirt", f"{found['libvirt']} ({found['uri']})"),
            ("pcscd", found["pcsc"]),
            ("Policy", f"{found['policy']}: {found['policy_error']}" if found["policy_error"] else found["policy"]),
            ("Domains", f"{found['domains']}, {found['enabled']} enabled"),
            ("Readers", str(found["readers"])),
            ("Bridges", f"{found['bridges']}, {traffic(found)}"),
            *([("Traces", f"{found['traces']}: 'virtcard info' tells by whom")] if found["traces"] else []),
        ]
    )
