"""The directory where QEMU's sockets are made, and the sockets in it."""

from __future__ import annotations

import grp
import stat
from pathlib import Path

from virtcard.cli.local.doctor.check import Outcome, Situation, error, ok, warning
from virtcard.cli.traffic import counted
from virtcard.domain.uri import SYSTEM_SOCKETS, runtime_dir
from virtcard.names import SYSTEM_USER

MODE = 0o2750
"""setgid, so that a socket which libvirt makes inherits the group; closed to everybody else."""


def folder_of(situation: Situation) -> Path:
    """Where the sockets of this instance are."""
    if situation.bus == "system":
        return situation.path(str(SYSTEM_SOCKETS))
    return runtime_dir(situation.environment) / "virtcard"


def check_folder(situation: Situation) -> Outcome:
    """It is there, with the owner and the mode that let virtcardd in and everybody else not."""
    folder = folder_of(situation)
    try:
        found = folder.stat()
    except OSError as failure:
        return error(f"There is no socket directory {folder}: {failure.strerror}.", _create(situation))
    if not stat.S_ISDIR(found.st_mode):
        return error(f"{folder} is not a directory.", f"Remove it. {_create(situation)}")
    if situation.bus == "session":
        return ok(f"The socket directory {folder} is there.")
    return _judge(folder, found.st_uid, group_name(found.st_gid), stat.S_IMODE(found.st_mode), _create(situation))


def _judge(folder: Path, owner: int, group: str, mode: int, hint: str) -> Outcome:
    if owner != 0 or group != SYSTEM_USER:
        return error(f"{folder} belongs to {owner}:{group} instead of root:{SYSTEM_USER}.", hint)
    if mode != MODE:
        return error(f"{folder} has mode {mode:04o} instead of {MODE:04o}.", hint)
    return ok(f"The socket directory {folder} is there with mode {mode:04o}.")


def check_stale(situation: Situation) -> Outcome:
    """Sockets that nobody listens on. They do no harm: libvirt replaces them at the next start.

    Asked of the kernel's list and not by connecting, since QEMU serves one client at a time."""
    folder = folder_of(situation)
    try:
        sockets = [each for each in folder.iterdir() if each.is_socket()]
    except PermissionError:
        return warning(f"You may not look into {folder}.", "Run 'virtcard doctor' as root.")
    except OSError:
        return ok("There are no sockets yet.")
    living = listening(situation)
    stale = sum(str(each) not in living for each in sockets)
    old = f"and {stale} old {'one' if stale == 1 else 'ones'} that libvirt will replace" if stale else "and no old ones"
    return ok(f"{counted(len(sockets) - stale, 'socket')} of running domains, {old}.")


def listening(situation: Situation) -> set[str]:
    """Paths of all unix sockets that are open."""
    lines = situation.path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]
    return {line.split(maxsplit=7)[7] for line in lines if len(line.split(maxsplit=7)) == 8}


def group_name(number: int) -> str:
    """The name of a group, or its number."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _create(situation: Situation) -> str:
    if situation.bus == "session":
        return "Run 'systemd-tmpfiles --user --create'."
    return "Run 'systemd-sysusers' and then 'systemd-tmpfiles --create'."
