"""virtcardd.service as systemd would start it, as far as that can be done without systemd.

What is done: user, environment, umask, capabilities, limits, its directories, and ProtectSystem=strict with
ReadWritePaths=, PrivateTmp=yes, ProcSubset=pid, PrivateNetwork=yes. What is not: the filters of system calls and
devices, and ProtectHome=yes, since the interpreter of a test run may be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from configparser import RawConfigParser
from pathlib import Path

from helpers.bus import REPOSITORY
from helpers.system_root import NEEDED, become

UNIT = REPOSITORY / "contrib/systemd/virtcardd.service"

_SANDBOX = """
set -e
writable=" $1 " umask="$2" needed="$3"
shift 3
mkdir -p /run/before
for folder in $writable; do [ ! -d "$folder" ] || mount --bind "$folder" "$folder"; done
awk '{print $5}' /proc/self/mountinfo | while read -r mount; do
    case "$writable" in *" $mount "*) continue ;; esac
    case "$mount" in /proc* | /sys* | /dev*) continue ;; esac
    mount -o remount,bind,ro "$mount"
done
# Behind the protection, which cannot see what is covered by these.
mount --bind /tmp /run/before
for folder in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
for folder in $needed; do
    case "$folder" in /tmp/*) mkdir -p "$folder" && mount --bind "/run/before/${folder#/tmp/}" "$folder" ;; esac
done
umount /run/before
mount -t proc -o subset=pid proc /proc
umask "$umask"
exec "$@"
"""
"""Words: what may be written, the umask, folders that must be seen though they are in /tmp, and the command."""


def read_unit() -> dict[str, str]:
    """The settings of [Service]; of one that is given twice, the last."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def make_directories(unit: dict[str, str]) -> str:
    """The shell script that makes RuntimeDirectory= and StateDirectory=, as systemd does at every start."""
    user = unit["User"]
    return "\n".join(
        f"install -d -o {user} -g {user} -m {unit[f'{kind}Mode']} {folder}"
        for kind, folder in _directories(unit).items()
    )


def start_command(unit: dict[str, str], *arguments: str, needed: Sequence[Path] = NEEDED) -> list[str]:
    """The words that start the daemon, in a system where its directories have been made; it sees what is `needed`."""
    folders = _directories(unit)
    user = unit["User"]
    environment = {
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "HOME": "/var/lib/virtcard",
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/usr/sbin/nologin",
        "RUNTIME_DIRECTORY": folders["RuntimeDirectory"],
        "STATE_DIRECTORY": folders["StateDirectory"],
    }
    writable = [*folders.values(), *(path.removeprefix("-") for path in unit["ReadWritePaths"].split())]
    words = [" ".join(writable), unit["UMask"], " ".join(map(str, needed))]
    return [
        *("unshare", "--mount", "--net", "sh", "-c", _SANDBOX, "sh", *words),
        *become(user), "--no-new-privs", "--bounding-set=-all",
        *("prlimit", f"--nofile={unit['LimitNOFILE']}", f"--core={unit['LimitCORE']}"),
        *("env", "-i", *(f"{key}={value}" for key, value in environment.items())),
        *unit["ExecStart"].split(), *arguments,
    ]  # fmt: skip


def _directories(unit: dict[str, str]) -> dict[str, str]:
    return {
        "RuntimeDirectory": f"/run/{unit['RuntimeDirectory']}",
        "StateDirectory": f"/var/lib/{unit['StateDirectory']}",
    }
