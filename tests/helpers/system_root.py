"""A system of its own on top of this one: nothing that is installed, started or written there reaches this machine.

A mount namespace in which `/etc`, `/usr` and `/var` are overlays and `/run` is empty, and a process namespace whose
end is the end of everything in it. The kernel, `/tmp` and the network of the test run are shared. It needs root.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.bus import REPOSITORY
from helpers.machines import IMAGES
from helpers.waiting import wait_until

PATIENCE = 20.0
COMMAND_PATIENCE = 60.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""What a service or root's shell starts with; nothing of the test run's own."""
NEEDED = (Path(sys.base_prefix), Path(sys.prefix), REPOSITORY)
"""Where virtcard is run from."""
OVERLAYS = (Path("/etc"), Path("/usr"), Path("/var"), IMAGES)
"""IMAGES, since libvirt gives kernel and ramdisk of a domain to QEMU's user while it runs."""

_SETUP = """
set -e
mount -t tmpfs -o mode=0755 tmpfs "$FILES"
for folder in $OVERLAYS; do
    mkdir -p "$FILES/upper$folder" "$FILES/work$folder"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$FILES/upper$folder,workdir=$FILES/work$folder" "$folder"
done
for folder in $CLOSED; do chmod o+x "$folder"; done
mount -t tmpfs -o mode=0755 tmpfs /run
# A KVM that QEMU's user may not open makes libvirt probe QEMU anew at every other call: there shall be none at all.
mkdir "$FILES/dev"
mount -t tmpfs -o mode=0755 tmpfs "$FILES/dev"
cp --archive --one-file-system /dev/. "$FILES/dev"
rm -f "$FILES/dev/kvm"
awk '$2 ~ "^/dev/" {print $2}' /proc/mounts | tac | while read -r mount; do umount --lazy "$mount"; done
mount --move "$FILES/dev" /dev
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t devpts -o gid=tty,mode=0620,ptmxmode=0666 devpts /dev/pts
"$INSTALLER" /
ln -s "$BIN/virtcard" "$BIN/virtcardd" /usr/bin
systemd-sysusers virtcard.conf
systemd-tmpfiles --create virtcard.conf
echo "the system stands"
# No exec: the first process of a namespace must collect the processes that lost their parents.
sleep infinity & wait
"""


class SystemRoot:
    """A system in which virtcard is installed as an administrator does it. Made by `system_root`."""

    setup = _SETUP
    """A script that makes the system in namespaces of its own, says that it stands, and stays."""

    def __init__(self, directory: Path) -> None:
        """`directory` is short, empty and open to everybody: domains keep their files in it."""
        self.directory = directory
        self._holder: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make it; returns when virtcard is installed."""
        assert os.geteuid() == 0, "a system of its own needs root"
        (self.directory / "files").mkdir()
        with self._log("system").open("ab") as log:
            self._holder = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", self.setup],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=ENVIRONMENT | self.variables(),
            )  # fmt: skip
        try:
            wait_until(self._stands, PATIENCE, "virtcard is installed")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log('system')}") from None

    def stop(self) -> None:
        """End every process in it, and with them its mounts."""
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait(PATIENCE)

    def log(self, name: str) -> str:
        """What the daemon `name` wrote since its first start."""
        file = self._log(name)
        return file.read_text(errors="replace") if file.exists() else ""

    def spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Run a daemon in the foreground, as root. Its process is `inside(...)` of what is returned."""
        with self._log(name).open("ab") as log:
            return subprocess.Popen(
                self._entering(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT
            )

    def run(
        self, *command: str, user: str = "root", stdin: str = "", patience: float = COMMAND_PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody without a login session, whatever comes of it."""
        words = command if user == "root" else (*become(user), *command)
        return subprocess.run(
            self._entering(words), check=False, capture_output=True, text=True, input=stdin,
            timeout=patience, env=ENVIRONMENT | {"HOME": "/root" if user == "root" else "/nonexistent"},
        )  # fmt: skip

    def check(self, *command: str, user: str = "root", stdin: str = "", patience: float = COMMAND_PATIENCE) -> str:
        """What a command prints; the test fails when it does not succeed."""
        done = self.run(*command, user=user, stdin=stdin, patience=patience)
        assert done.returncode == 0, f"{shlex.join(command)} as {user}: {done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, script: str) -> str:
        """What a shell script of root prints."""
        return self.check("sh", "-ec", script)

    def _entering(self, command: Sequence[str]) -> list[str]:
        assert self._holder is not None, "the system is not running"
        return ["nsenter", f"--target={inside(self._holder)}", "--mount", "--pid", "--wdns=/", *command]

    def _stands(self) -> bool:
        assert self._holder is not None
        assert self._holder.poll() is None, "the system was not made"
        return "the system stands" in self.log("system")

    def variables(self) -> dict[str, str]:
        """What the script is told."""
        closed = [path for path in _way_to_virtcard() if not path.stat().st_mode & stat.S_IXOTH]
        overlays = dict.fromkeys([*OVERLAYS, *(Path("/", path.parts[1]) for path in closed)])
        return {
            "FILES": str(self.directory / "files"),
            "OVERLAYS": " ".join(map(str, overlays)),
            "CLOSED": " ".join(map(str, closed)),
            "INSTALLER": str(REPOSITORY / "contrib/systemd/install.sh"),
            "BIN": str(Path(sys.executable).parent),
        }

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"


@contextmanager
def system_root() -> Iterator[SystemRoot]:
    """A system of its own, running; nothing is left of it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    directory.chmod(0o755)
    root = SystemRoot(directory)
    try:
        root.start()
        yield root
    finally:
        root.stop()
        shutil.rmtree(directory)


def inside(process: subprocess.Popen[bytes]) -> int:
    """The one child of `unshare` or `nsenter`, the process that is in the namespaces; its pid is ours."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: children.read_text().strip(), PATIENCE, "the process is in the namespace")
    return int(children.read_text().split()[0])


def become(user: str) -> list[str]:
    """The words before a command that make root somebody else, with no other group than their own."""
    return ["setpriv", f"--reuid={user}", f"--regid={_group(user)}", "--clear-groups", "--inh-caps=-all"]


def _group(user: str) -> str:
    return "nogroup" if user == "nobody" else user


def _way_to_virtcard() -> list[Path]:
    """Every folder on the way to the interpreter, the checkout and the guest: services must get there."""
    return list(
        dict.fromkeys(folder for end in (*NEEDED, IMAGES) for folder in (*reversed(end.parents), end) if folder.name)
    )
