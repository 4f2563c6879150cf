"""The Debian packages, built as a packager does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from helpers.bus import REPOSITORY

BUILD = REPOSITORY / "contrib/debian/build.sh"
BUILD_PATIENCE = 600.0


def build_packages(folder: Path, *, offline: bool = False) -> dict[str, Path]:
    """Build the Debian packages into a folder, if wanted without a network; the files by their packages' names."""
    alone = ("unshare", "--net") if offline else ()
    words = [*alone, str(BUILD), str(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=BUILD_PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return {file.name.partition("_")[0]: file for file in folder.glob("*.deb")}


def listed(package: Path) -> dict[str, str]:
    """What is in a package: its paths from the root on, without the folders, with the kind and mode that tar shows."""
    shown = subprocess.run(["dpkg-deb", "--contents", str(package)], check=True, capture_output=True, text=True).stdout
    found = {}
    for line in shown.splitlines():
        mode, *_, path = line.partition(" -> ")[0].split(maxsplit=5)
        if not mode.startswith("d"):
            found[path.removeprefix(".")] = mode
    return found


def control_field(package: Path, name: str) -> str:
    """A field of a package."""
    words = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
