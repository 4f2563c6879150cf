"""`make demo`, as somebody who has just cloned the project sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(HOUSE / "tests"), "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def test_the_demo_shows_the_main_job_and_a_signature_and_leaves_nothing_behind() -> None:
    shown = subprocess.run(
        [sys.executable, HOUSE / "contrib/demo/demo.py"], env=ENVIRONMENT,
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    steps = re.findall(r"^\[(\d+)/(\d+)\] [A-Z].*[.?]  \(\d+ s\)$", shown.stdout, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, int(steps[0][1]) + 1))
    assert "reader:Virtual PCD 00 00 is in domain 'demo'" in shown.stdout
    assert "the card left\n    a card came\n" in shown.stdout
    assert "subject:    DN: CN=Jane Doe" in shown.stdout
    assert "Verified OK" in shown.stdout
    place = re.search(r"socket=(/tmp/vc-[^/]+)/", shown.stdout)
    assert place is not None
    assert not Path(place[1]).exists()
    assert processes_of(place[1]) == []


def processes_of(folder: str) -> list[str]:
    """Command lines of this machine that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in words:
            found.append(words)
    return found
