"""`virtcard disable VM | --all`: take the virtual reader away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import click

from virtcard.cli.change import alter, tell, virsh_wording
from virtcard.cli.complete import vms
from virtcard.cli.door import Door
from virtcard.cli.options import Choice
from virtcard.cli.screen import complain, say
from virtcard.cli.shapes import Domain, domains
from virtcard.cli.slots import named, slot_option
from virtcard.errors import VirtcardError

DONE: Final = "Domain '{}' has no virtual reader any more."
NO_READER: Final = "No domain has a virtual reader."


@click.command("disable")
@click.argument("vm", shell_complete=vms, required=False)
@click.option("--all", "every", is_flag=True, help="Every domain that has a virtual reader (before a purge).")
@click.option("--dry-run", is_flag=True, help="Print the change of the domain XML as a diff, and change nothing.")
@click.option("--hotplug", is_flag=True, help="Only the readers that were hot-plugged.")
@slot_option
@click.option("--offline", is_flag=True, help="With --all: by libvirt alone, when virtcardd does not run any more.")
@virsh_wording
@click.pass_obj
def verb(
    choice: Choice,
    *,
    vm: str | None,
    every: bool,
    dry_run: bool,
    hotplug: bool,
    slot: Mapping[str, int],
    offline: bool,
) -> int:
    """Take the virtual reader away again.

    The domain's configuration is changed: it gets back what the reader had replaced, and asks for no card any more.
    Readers that were hot-plugged go at once, with their cards; with --hotplug only those, or with --slot only one of
    them.
    """
    if every == (vm is not None):
        raise click.UsageError("Give either a VM or --all.")
    if slot and (every or not hotplug):
        raise click.UsageError("--slot goes with a VM and --hotplug.")
    if hotplug and dry_run:
        raise click.UsageError("--hotplug changes no XML: leave out --dry-run.")
    if offline and (hotplug or not every):
        raise click.UsageError("--offline goes with --all, and without --hotplug.")
    if offline:
        return _disable_offline(f"qemu:///{choice.bus}", dry_run)
    act = partial(unplug, slot=slot) if hotplug else partial(_disable, dry_run=dry_run)
    with choice.open() as client:
        if vm is not None:
            act(client, vm, vm)
            return 0
        found = [each for each in domains(client.objects()) if each["hotplugged"] or (each["enabled"] and not hotplug)]
        return each_of(client, found, act, "No domain has a hot-plugged reader." if hotplug else NO_READER)


def unplug(client: Door, vm: str, name: str, slot: Mapping[str, int]) -> None:
    """Take away what was hot-plugged."""
    result = alter(client, client.find_domain(vm), "Disable", {"hotplug": True, **slot})
    done = f"Domain '{name}' has no reader in {named(result['slots'])} any more." if result["changed"] else ""
    tell(result, done, f"Domain '{name}' has no hot-plugged reader.", dry_run=False)


def each_of(client: Door, found: Sequence[Domain], act: Callable[[Door, str, str], None], nothing: str) -> int:
    """One that fails does not keep the others; the first failure gives the exit code."""
    code = 0
    for each in found:
        try:
            act(client, each["uuid"], each["name"])
        except VirtcardError as error:
            complain(f"{each['name']}: {error.message}", error.hint)
            code = code or error.exit_code
    if not found:
        say(nothing)
    return code


def _disable(client: Door, vm: str, name: str, dry_run: bool) -> None:
    result = alter(client, client.find_domain(vm), "Disable", {"dry-run": dry_run})
    tell(result, DONE.format(name), f"Domain '{name}' has no virtual reader.", dry_run=dry_run)


def _disable_offline(uri: str, dry_run: bool) -> int:
    from virtcard.cli.local.offline import put_back_all

    code = 0
    done = list(put_back_all(uri, dry_run=dry_run))
    for each in done:
        if each.error is not None:
            complain(f"{each.name}: {each.error.message}", each.error.hint)
            code = code or each.error.exit_code
            continue
        result = {"diff": each.diff, "changed": True, "pending": each.pending}
        tell(result, DONE.format(each.name), "", dry_run=dry_run)
    if not done:
        say(NO_READER)
    return code
