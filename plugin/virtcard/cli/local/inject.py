"""`virtcard inject-xml`: a filter for domain XML, for domains that no daemon may redefine (transient ones)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from virtcard.cli.modes import mode_options
from virtcard.cli.options import Bus, Choice
from virtcard.cli.screen import warn
from virtcard.errors import InvalidXml
from virtcard.limits import DOMAIN_XML_MAX


@click.command("inject-xml")
@click.option("--socket-dir", metavar="DIR", help="Where QEMU shall listen: a directory called virtcard.")
@click.option(
    "--on-existing",
    type=click.Choice(["keep", "replace", "fail"]),
    default="keep",
    show_default=True,
    help="What to do with a smart card device that is there already.",
)
@mode_options
@click.pass_obj
def verb(choice: Choice, socket_dir: str | None, on_existing: str, setup: Mapping[str, Any]) -> None:
    """Give domain XML a virtual reader (a filter).

    It reads from stdin and writes to stdout, for domains that virtcardd must not redefine:

    virsh create <(virtcard inject-xml < live.xml)
    """
    from virtcard.cli.local.inject_xml import plan_inject_xml
    from virtcard.domain.setup import reader_setup

    folder = socket_dir or default_folder(choice.bus)
    plan = plan_inject_xml(_read(), socket_dir=folder, on_existing=on_existing, setup=reader_setup(**setup))
    for finding in plan.findings:
        warn(finding.message, finding.hint)
    sys.stdout.buffer.write(plan.xml.encode())


def default_folder(bus: Bus) -> str:
    """The socket directory of the instance on this bus."""
    from virtcard.domain.uri import parse_uri

    return str(parse_uri(f"qemu:///{bus}", os.environ).socket_dir)


def _read() -> str:
    untrusted_xml = sys.stdin.buffer.read(DOMAIN_XML_MAX + 1)
    if len(untrusted_xml) > DOMAIN_XML_MAX:
        raise InvalidXml(f"The domain XML is longer than {DOMAIN_XML_MAX >> 20} MiB, which libvirt would not take.")
    if not untrusted_xml.strip():
        raise InvalidXml("There is no domain XML on standard input.", hint="virtcard inject-xml < machine.xml")
    try:
        return untrusted_xml.decode()
    except UnicodeDecodeError:
        raise InvalidXml("The domain XML is not UTF-8.", hint="Save it as UTF-8, as 'virsh dumpxml' does.") from None
