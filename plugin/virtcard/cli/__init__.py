"""The command `virtcard`: this module holds only the way in, so that `virtcard --version` loads nothing else."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def main(arguments: list[str] | None = None) -> int:
    """Run the command line (`sys.argv` when None) and return its exit code."""
    _open_closed_streams()
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


def _open_closed_streams() -> None:
    """Who closed a stream of ours (`>&-`) does not want it; Python has None for it, which nobody can use."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(_nowhere(number), "w" if number else "r"))


def _nowhere(number: int) -> int:
    """/dev/null as this descriptor, so that nothing else is opened as it."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    return number
