"""`virtcard disable VM | --all`: take the virtual reader away."""

from __future__ import annotations

import click

from virtcard.cli.change import alter, tell, virsh_wording
from virtcard.cli.door import Door
from virtcard.cli.options import Choice
from virtcard.cli.screen import complain, say
from virtcard.cli.shapes import domains
from virtcard.errors import VirtcardError


@click.command("disable")
@click.argument("vm", required=False)
@click.option("--all", "every", is_flag=True, help="Every domain that has a virtual reader (before a purge).")
@click.option("--dry-run", is_flag=True, help="Print the change of the domain XML as a diff, and change nothing.")
@virsh_wording
@click.pass_obj
def verb(choice: Choice, vm: str | None, every: bool, dry_run: bool) -> int:
    """Take the virtual reader away again.

    The domain's configuration is changed, and gets back what the reader had replaced.
    """
    if every == (vm is not None):
        raise click.UsageError("Give either a VM or --all.")
    with choice.open() as client:
        if vm is not None:
            _disable(client, vm, vm, dry_run)
            return 0
        return _disable_all(client, dry_run)


def _disable(client: Door, vm: str, name: str, dry_run: bool) -> None:
    result = alter(client, client.find_domain(vm), "Disable", {"dry-run": dry_run})
    done = f"Domain '{name}' has no virtual reader any more."
    tell(result, done, f"Domain '{name}' has no virtual reader.", dry_run=dry_run)


def _disable_all(client: Door, dry_run: bool) -> int:
    """One that fails does not keep the others; the first failure gives the exit code."""
    code = 0
    enabled = [each for each in domains(client.objects()) if each["enabled"]]
    for each in enabled:
        try:
            _disable(client, each["uuid"], each["name"], dry_run)
        except VirtcardError as error:
            complain(f"{each['name']}: {error.message}", error.hint)
            code = code or error.exit_code
    if not enabled:
        say("No domain has a virtual reader.")
    return code
