"""`virtcard prepare-migrate VM | --all`: take away what keeps libvirt from migrating and saving a machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import click

from virtcard.cli.complete import vms
from virtcard.cli.disable import each_of, unplug
from virtcard.cli.options import Choice
from virtcard.cli.shapes import domains

ALL_SLOTS: Final[Mapping[str, int]] = {}


@click.command("prepare-migrate")
@click.argument("vm", shell_complete=vms, required=False)
@click.option("--all", "every", is_flag=True, help="Every machine that has a hot-plugged reader (before a shutdown).")
@click.pass_obj
def verb(choice: Choice, vm: str | None, every: bool) -> int:
    """Make a machine fit for migration and for saving.

    Its hot-plugged readers are taken away, and before that their cards, in order. A reader of the configuration stays:
    libvirt migrates and saves it.
    """
    if every == (vm is not None):
        raise click.UsageError("Give either a VM or --all.")
    with choice.open() as client:
        if vm is not None:
            unplug(client, vm, vm, ALL_SLOTS)
            return 0
        found = [each for each in domains(client.objects()) if each["hotplugged"]]
        return each_of(client, found, partial(unplug, slot=ALL_SLOTS), "No domain has a hot-plugged reader.")
