"""`virtcard grants`: what persons allowed for always, and taking it back."""

from __future__ import annotations

import click

from virtcard.cli import shapes
from virtcard.cli.options import Choice
from virtcard.cli.screen import clock, say, say_json, table
from virtcard.limits import CALL_PATIENCE
from virtcard.names import MANAGER, ROOT_PATH

TITLES = ("Id", "Domain", "Card", "For", "User", "Since")


@click.group("grants", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="A list of grants as JSON.")
@click.pass_context
def verb(ctx: click.Context, as_json: bool) -> None:
    """List what was answered with "always", and take it back.

    A grant holds for one machine, one card and the user who gave it. The administrator's rules come before it.
    """
    if ctx.invoked_subcommand is None:
        _list(ctx.obj, as_json=as_json)


@verb.command("revoke")
@click.argument("grant_id", metavar="ID")
@click.pass_obj
def revoke(choice: Choice, grant_id: str) -> None:
    """Take a grant back: the next time it is asked again."""
    with choice.open() as client:
        client.call(ROOT_PATH, MANAGER, "RevokeGrant", "sa{sv}", (grant_id, {}), timeout=CALL_PATIENCE)
    say(f"Grant {grant_id} is taken back.")


def _list(choice: Choice, *, as_json: bool) -> None:
    with choice.open() as client:
        (values,) = client.call(ROOT_PATH, MANAGER, "ListGrants", "a{sv}", ({},))
    grants = [shapes.grant(each) for each in values]
    if as_json:
        say_json(grants)
    else:
        table(TITLES, [_row(grant) for grant in grants])


def _row(grant: shapes.Grant) -> tuple[str, ...]:
    operations = ", ".join(grant["operations"])
    return (grant["id"], grant["domain"], grant["source"], operations, grant["user"], clock(grant["when"]))
