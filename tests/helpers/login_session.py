"""A login session as logind leaves it for others to read, so that the real polkit knows who sits at the machine.

polkit asks sd-login(3), which finds the session of a process by its control group, and its state in /run/systemd.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.system_host import SystemHost

ENTER = 'echo $$ > "$1" && shift && exec "$@"'


def _unified() -> Path:
    """Where the hierarchy is mounted that systemd would use, alone or beside those of version 1."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise AssertionError("there is no cgroup2 hierarchy on this machine")


@dataclass(frozen=True, slots=True)
class LoginSession:
    """Commands run in it are those of its user."""

    host: SystemHost
    user: str
    members: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the session, whatever comes of it."""
        words = ("setpriv", f"--reuid={self.user}", f"--regid={self._group}", "--clear-groups", *command)
        return self.host.root.run("sh", "-c", ENTER, "sh", str(self.members), *words)

    def virtcard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the virtcard command in the session, whatever comes of it."""
        return self.run("virtcard", *arguments)

    @property
    def _group(self) -> str:
        return self.host.root.check("id", "-gn", self.user).strip()


@contextmanager
def login_session(host: SystemHost, user: str, *, active: bool) -> Iterator[LoginSession]:
    """A session of the user at seat0, the one that is seen when it is `active`."""
    uid = host.root.check("id", "-u", user).strip()
    name = f"vc{uid}"
    group = _unified() / "user.slice" / f"user-{uid}.slice" / f"session-{name}.scope"
    group.mkdir(parents=True)
    state = "active" if active else "online"
    session = (
        f"UID={uid}\nUSER={user}\nACTIVE={int(active)}\nSTATE={state}\nSEAT=seat0\nREMOTE=0\nTYPE=tty\nCLASS=user\n"
    )
    files = {
        f"/run/systemd/sessions/{name}": session,
        f"/run/systemd/users/{uid}": f"NAME={user}\nSTATE={state}\nDISPLAY={name}\nSESSIONS={name}\n",
    }
    for file, values in files.items():
        host.root.check("tee", file, stdin=values)
    try:
        yield LoginSession(host, user, group / "cgroup.procs")
    finally:
        host.root.check("rm", *files)
        for folder in (group, group.parent, group.parent.parent):
            with suppress(OSError):  # the slices may be somebody else's too
                folder.rmdir()
