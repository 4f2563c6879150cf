"""Is the process at the other end of a socket the QEMU of that domain?"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import UUID

from virtcard.errors import PeerError

PID_FILE_MAX: Final = 16
"""Bytes of a pid file: a pid has 7 digits at most on Linux, and some writers add a newline."""
CMDLINE_MAX: Final = 2 * 1024 * 1024
"""Bytes: Linux keeps arguments below 2 MiB by default, and libvirt's stand far below."""
PROC: Final = Path("/proc")


def qemu_pid(name: str, pid_dir: Path | None) -> int | None:
    """The pid in libvirt's pid file of the domain `name`; None when there is no readable one."""
    if pid_dir is None or "/" in name:
        return None
    try:
        with (pid_dir / f"{name}.pid").open("rb") as file:
            untrusted_text = file.read(PID_FILE_MAX + 1)
    except OSError:
        return None
    usable = len(untrusted_text) <= PID_FILE_MAX and untrusted_text.strip().isdigit()
    return int(untrusted_text) if usable else None


def process_uuid(pid: int) -> UUID | None:
    """The `-uuid` argument of a process; None when it has none or is gone."""
    try:
        with (PROC / str(pid) / "cmdline").open("rb") as file:
            untrusted_arguments = file.read(CMDLINE_MAX).split(b"\0")
    except OSError:
        return None
    if b"-uuid" not in untrusted_arguments[:-1]:
        return None
    try:
        return UUID(untrusted_arguments[untrusted_arguments.index(b"-uuid") + 1].decode("ascii"))
    except ValueError:
        return None


def verify_peer(pid: int, uuid: UUID, name: str, pid_dir: Path | None) -> None:
    """PeerError unless `pid` (SO_PEERCRED) is the QEMU of this domain.

    libvirt's pid file decides; without one, the `-uuid` that libvirt gives to every QEMU."""
    expected = qemu_pid(name, pid_dir)
    if pid > 0 and (expected == pid or (expected is None and process_uuid(pid) == uuid)):
        return
    raise PeerError(
        f"Process {pid} answers on the socket of {name}, and is not its QEMU.",
        hint="Another domain may use the same socket path, as after a clone: compare the <smartcard> of your domains.",
    )
