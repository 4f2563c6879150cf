"""systemd's own journald as a plain process with a `/run` of its own: the judge of what we write into a journal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.system_root import inside
from helpers.waiting import wait_until
from virtcard.journal import SOCKET

JOURNALD = "/lib/systemd/systemd-journald"
_START = f"""
set -e
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=0755 tmpfs /var/log
mkdir -p /run/systemd/journal /run/log/journal
exec {JOURNALD}
"""


@dataclass(frozen=True, slots=True)
class Journald:
    """One that runs. `commands` is a folder with a journalctl that reads it."""

    pid: int
    commands: Path

    @property
    def socket(self) -> str:
        """Where it takes records, as seen from here by root."""
        return f"/proc/{self.pid}/root{SOCKET}"

    def entering(self, *command: str) -> list[str]:
        """The words that run a command where it is the machine's journal."""
        return ["nsenter", f"--target={self.pid}", "--mount", *command]


@contextmanager
def journald(directory: Path) -> Iterator[Journald]:
    """Start one; nothing is left of it afterwards. `directory` is empty."""
    command = ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", _START]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        running = Journald(inside(process), directory)
        wait_until(Path(running.socket).exists, 20, "journald serves")
        journalctl = directory / "journalctl"
        journalctl.write_text(f'#!/bin/sh\nexec {" ".join(running.entering("/usr/bin/journalctl"))} "$@"\n')
        journalctl.chmod(0o755)
        yield running
    finally:
        process.kill()
        process.wait(10)
