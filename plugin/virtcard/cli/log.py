"""`virtcard log VM`: what is on record of a domain, from the journal."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from virtcard.cli.complete import vms
from virtcard.cli.options import Choice
from virtcard.cli.records import Entry, matches, read, require_journal
from virtcard.cli.screen import say, say_json_line
from virtcard.cli.shapes import uuid_of
from virtcard.errors import Disconnected, NoSuchDomain, VirtcardError


@click.command("log")
@click.argument("vm", shell_complete=vms)
@click.option("-S", "--since", metavar="TIME", help="Only what is newer, in journalctl's words: yesterday, -1h.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def verb(choice: Choice, vm: str, since: str | None, follow: bool, as_json: bool) -> None:
    """Show what is on record of a domain.

    Who was allowed to do what, which card was in when, and what the domain asked of it: from the journal of this
    machine, which the groups adm and systemd-journal may read. Domains that are gone are found by name or UUID.
    """
    require_journal(choice.bus)
    uuid, unknown = _find(choice, vm)
    number = 0
    for entry in read(matches(choice.bus, uuid, vm), since, follow=follow):
        number += 1
        if as_json:
            say_json_line(entry)
        else:
            _show(entry)
    if not number and unknown is not None:
        raise unknown


def _find(choice: Choice, vm: str) -> tuple[str | None, VirtcardError | None]:
    """The domain's UUID; without one the reason, which matters when there are no records of that name either."""
    try:
        with choice.open() as client:
            return uuid_of(client.find_domain(vm)), None
    except NoSuchDomain as error:
        return None, error
    except Disconnected:
        return None, None


def _show(entry: Entry) -> None:
    moment = datetime.fromtimestamp(entry["time"] / 1_000_000)  # the reader's own clock, as journalctl has it
    say(f"{moment:%Y-%m-%d %H:%M:%S}  {entry['message']}".replace("\n", " "))
    sys.stdout.flush()
