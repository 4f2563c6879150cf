"""The command `virtcard`: this module holds only the way in, so that `virtcard --version` loads nothing else."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def main(arguments: list[str] | None = None) -> int:
    """Run the command line (`sys.argv` when None) and return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words == ["--version"]:
        from virtcard.version import VERSION

        print(f"virtcard {VERSION}")
        return 0
    if instruction := os.environ.get("_VIRTCARD_COMPLETE"):
        from virtcard.cli.complete import answer

        return answer(instruction)
    from virtcard.cli.run import run, tell_briefly

    sys.excepthook = tell_briefly
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no failure
    return run(words)
