"""`vscclient`: the command of QEMU's smart card chapter, as libcacard had it, done by a bridge of ours."""

from __future__ import annotations

import sys
from typing import Final

from virtcard.cli.local.vscclient.arguments import USAGE, Arguments, UsageError, parse
from virtcard.cli.screen import complain
from virtcard.errors import VirtcardError

BAD_USAGE: Final = 4
"""As libcacard's vscclient had it; 5 is "cannot connect" (`client`)."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line (`sys.argv` when None) and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words == ["--help"]:
        print(USAGE)
        return 0
    try:
        wanted = parse(words)
    except UsageError as error:
        complain(str(error), who="vscclient")
        print(USAGE, file=sys.stderr)
        return BAD_USAGE
    return _serve(wanted)


def _serve(wanted: Arguments) -> int:
    from virtcard.cli.local.vscclient.cards import opened
    from virtcard.cli.local.vscclient.client import Client

    try:
        with opened(wanted) as cards:
            return Client(wanted, cards).run()
    except VirtcardError as error:
        complain(error.message, error.hint, who="vscclient")
        return error.exit_code
