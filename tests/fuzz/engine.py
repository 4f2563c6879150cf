"""One target under atheris, in a process of its own; its figures are read back from what libFuzzer says."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CORPUS: Final = HERE / "corpus"
WORDS: Final = HERE / "words"
CACHE: Final = HERE.parents[1] / ".cache/fuzz"
TARGETS: Final = tuple(sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py")))

INPUT_MAX: Final = 4096
"""Bytes. Targets make longer blocks out of few bytes."""
MEMORY_MAX: Final = 1024
"""MiB of a process: a target that remembers what it is given is a finding."""
INPUT_SECONDS_MAX: Final = 10

_STATUS: Final = re.compile(r"^#(\d+)\s+\S+.*? cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_ARTIFACT: Final = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a run. `finding` is the input that failed, "" without one; `log` is all that was said."""

    target: str
    executions: int
    coverage: int
    features: int
    finding: str
    log: Path
    ok: bool

    def __str__(self) -> str:
        end = "no findings" if self.ok else f"FAILED on {self.finding or 'start'}, see {self.log}"
        return f"{self.executions} executions, {self.coverage} edges, {self.features} features, {end}"


def run(target: str, seconds: int) -> Result:
    """Fuzz for so long, beginning with the corpus in the tree and what earlier runs found here."""
    folder = CACHE / target
    folder.mkdir(parents=True, exist_ok=True)
    log = CACHE / f"{target}.log"
    arguments = [
        *(f"-max_total_time={seconds}", f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MAX}"),
        *(f"-max_len={INPUT_MAX}", f"-artifact_prefix={CACHE}/{target}-", "-print_final_stats=1"),
    ]
    if (words := WORDS / f"{target}.txt").exists():
        arguments.append(f"-dict={words}")
    command = [sys.executable, "-m", "fuzz.engine", target, *arguments, str(folder), str(CORPUS / target)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "TMPDIR": "/dev/shm"}
    with log.open("w") as out:
        code = subprocess.run(command, check=False, stdout=out, stderr=out, env=environment).returncode
    return read(target, log, ok=code == 0)


def read(target: str, log: Path, *, ok: bool) -> Result:
    """The figures in a log of libFuzzer."""
    text = log.read_text(errors="replace")
    last = (_STATUS.findall(text) or [("0", "0", "0", "0")])[-1]
    executions, coverage, features, _ = map(int, last)
    artifact = _ARTIFACT.search(text)
    return Result(target, executions, coverage, features, artifact[1] if artifact else "", log, ok)


def fuzz(target: str, arguments: list[str]) -> None:
    """Never comes back: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["virtcard"]):
        check = importlib.import_module(f"fuzz.fuzz_{target}").check
    atheris.Setup([target, *arguments], check)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
