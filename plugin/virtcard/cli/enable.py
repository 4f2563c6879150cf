"""`virtcard enable VM`: give a domain a virtual reader."""

from __future__ import annotations

import click

from virtcard.cli.change import alter, tell, virsh_wording
from virtcard.cli.options import Choice
from virtcard.names import DOMAIN


@click.command("enable")
@click.argument("vm")
@click.option("--dry-run", is_flag=True, help="Print the change of the domain XML as a diff, and change nothing.")
@click.option(
    "--on-existing",
    type=click.Choice(["keep", "replace", "fail"]),
    default="keep",
    show_default=True,
    help="What to do with a smart card device that is there already.",
)
@virsh_wording
@click.pass_obj
def verb(choice: Choice, vm: str, dry_run: bool, on_existing: str) -> None:
    """Give a domain a virtual reader.

    The domain's configuration is changed. A machine that runs gets its reader after it was fully powered off.
    """
    with choice.open() as client:
        path = client.find_domain(vm)
        result = alter(client, path, "Enable", {"dry-run": dry_run, "on-existing": on_existing})
        kept = client.properties(path, DOMAIN)["Foreign"]
    already = f"Domain '{vm}' has a virtual reader already."
    if kept:
        already = f"Domain '{vm}' keeps its other smart card device ({kept}); --on-existing replace would replace it."
    tell(result, f"Domain '{vm}' has a virtual reader now.", already, dry_run=dry_run)
