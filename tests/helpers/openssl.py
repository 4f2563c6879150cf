"""OpenSSL's command, the judge of keys and certificates."""

from __future__ import annotations

import subprocess
from pathlib import Path


def openssl(*arguments: str | Path) -> str:
    """What it prints; its complaint, when it fails."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
