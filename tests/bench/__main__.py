"""`python tests/bench [NAME...]`: measure, print one table, and write it to .cache/bench.json."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from helpers.bench_figures import measure, missed, show  # noqa: E402 (the paths come first)

RESULT = HERE.parents[1] / ".cache/bench.json"


def main(chosen: list[str]) -> int:
    """All benchmarks, or those that are named ("service" for bench_service.py). 1 when a target is missed."""
    figures: dict[str, float] = {}
    for module in sorted(path.stem for path in HERE.glob("bench_*.py")):
        if not chosen or module.removeprefix("bench_") in chosen:
            print(f"bench: {module}", flush=True)
            found = measure(module)
            show(found)
            figures |= found
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"time": time.strftime("%FT%TZ", time.gmtime()), "figures": figures}, indent=1) + "\n")
    print(f"bench: {len(figures)} figures in {RESULT.relative_to(HERE.parents[1])}")
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
