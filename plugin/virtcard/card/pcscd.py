"""What is known of pcscd beside PC/SC, which does not tell its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

from virtcard.limits import PCSCD_PATIENCE

_PLACES: Final = "/usr/sbin:/usr/local/sbin:/sbin"
"""Where it is installed; the PATH of a user often lacks these."""


def pcscd_version(path: str | None = None) -> str:
    """The version of the pcscd that is installed ("1.9.9"), or "". Blocking; `path` stands in for PATH."""
    program = shutil.which("pcscd", path=f"{os.environ.get('PATH', '')}:{_PLACES}" if path is None else path)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PCSCD_PATIENCE,
            check=False,
            text=True,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"pcsc-lite version (\d+(?:\.\d+)*)", done.stdout)
    return found[1] if found else ""
