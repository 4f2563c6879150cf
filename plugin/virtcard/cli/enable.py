"""`virtcard enable VM`: give a domain a virtual reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from virtcard.cli.change import alter, tell, virsh_wording
from virtcard.cli.complete import vms
from virtcard.cli.modes import brought_by, mode_options
from virtcard.cli.options import Choice
from virtcard.cli.slots import named
from virtcard.names import DOMAIN


@click.command("enable")
@click.argument("vm", shell_complete=vms)
@click.option("--dry-run", is_flag=True, help="Print the change of the domain XML as a diff, and change nothing.")
@click.option(
    "--on-existing",
    type=click.Choice(["keep", "replace", "fail"]),
    help="What to do with a smart card device that is there already; else the policy says it, or it is kept.",
)
@click.option("--hotplug", is_flag=True, help="Give the running machine one more reader at once, over QEMU's monitor.")
@mode_options
@virsh_wording
@click.pass_obj
def verb(
    choice: Choice, *, vm: str, dry_run: bool, on_existing: str | None, hotplug: bool, setup: Mapping[str, Any]
) -> None:
    """Give a domain a virtual reader.

    The domain's configuration is changed. A machine that runs gets its reader after it was fully powered off.

    With --hotplug the machine that runs gets a reader at once, and the configuration stays as it is. A rule of the
    policy must allow it (monitor = "hotplug"). libvirt knows nothing of such a reader: until it is taken away it cannot
    migrate the machine, nor restore what it saves of it, and it calls the machine tainted.

    The mode says where the card of the reader lives:

    \b
    bridge             in virtcardd: insert and eject it as you like
    host               in QEMU, made of the host's NSS tokens
    host-certificates  in QEMU, made of three certificates of an NSS database
    tcp                where 'virtcard connect' runs, here or on another machine
    spice              in the machine of the SPICE viewer, or where 'virtcard connect spice://...' runs
    """
    if hotplug:
        if dry_run or on_existing or setup:
            raise click.UsageError("--hotplug changes no XML: leave out --dry-run, --on-existing and the mode.")
        _plug(choice, vm)
        return
    with choice.open() as client:
        path = client.find_domain(vm)
        said = {"on-existing": on_existing} if on_existing else {}
        result = alter(client, path, "Enable", {"dry-run": dry_run, **said, **setup})
        kept = client.properties(path, DOMAIN)["Foreign"]
    already = f"Domain '{vm}' has a virtual reader already."
    if kept:
        already = f"Domain '{vm}' keeps its other smart card device ({kept}); --on-existing replace would replace it."
    tell(result, f"Domain '{vm}' has a virtual reader now.{brought_by(setup)}", already, dry_run=dry_run)


def _plug(choice: Choice, vm: str) -> None:
    with choice.open() as client:
        result = alter(client, client.find_domain(vm), "Enable", {"hotplug": True})
    tell(result, f"Domain '{vm}' has one more virtual reader, in {named(result['slots'])}.", "", dry_run=False)
