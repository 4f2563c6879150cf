"""What `virtcard --version` costs over an empty Python, in one run on one machine."""

from __future__ import annotations

import compileall
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import virtcard

ROUNDS = 21


def run() -> dict[str, float]:
    """Medians in milliseconds: the empty interpreter, the command, their difference; and their ratio."""
    compileall.compile_dir(next(iter(virtcard.__path__)), quiet=1)
    empty, command = _alternate([sys.executable, "-c", "pass"], [sys.executable, str(_script()), "--version"])
    return {
        "python_ms": empty,
        "version_ms": command,
        "version_cost_ms": command - empty,
        "version_ratio": command / empty,
    }


def _script() -> Path:
    return Path(sys.executable).parent / "virtcard"


def _alternate(first: list[str], second: list[str]) -> tuple[float, float]:
    """By turns, so that a busy moment of the machine hits both."""
    pairs = [(_milliseconds(first), _milliseconds(second)) for _ in range(ROUNDS)]
    return median(one for one, _ in pairs), median(other for _, other in pairs)


def _milliseconds(words: list[str]) -> float:
    begin = perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return (perf_counter() - begin) * 1000


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<16} {value:8.2f}")
