"""`python tests/fuzz [NAME...] [--seconds N]`: fuzz all targets, or those that are named, one after the other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from fuzz.engine import TARGETS, run  # noqa: E402 (the path comes first)


def main(arguments: list[str]) -> int:
    """1 when an input broke a target; its file is named."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Coverage-guided fuzzing.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"a target: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=300, help="for all of them together")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in TARGETS]:
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}")
    names = options.names or TARGETS
    findings = 0
    for name in names:
        result = run(name, max(1, options.seconds // len(names)))
        print(f"fuzz: {name}: {result}", flush=True)
        findings += not result.ok
    print(f"fuzz: done; {findings or 'no'} target{'' if findings == 1 else 's'} failed")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
