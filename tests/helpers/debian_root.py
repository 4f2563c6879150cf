"""A Debian of its own to install the packages on, minimal, and without a network."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from helpers.bus import REPOSITORY
from helpers.system_root import SystemRoot

CLEAN = REPOSITORY / ".cache/debian/root"
APT_PATIENCE = 600.0

_SETUP = """
set -e
test -d "$CLEAN" || { echo "run: contrib/debian/root.sh DEB"; exit 1; }
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$FILES"
mkdir "$FILES/upper" "$FILES/work" "$FILES/root"
root="$FILES/root"
mount -t overlay overlay -o "lowerdir=$CLEAN,upperdir=$FILES/upper,workdir=$FILES/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
for name in stdin=0 stdout=1 stderr=2; do ln -s "/proc/self/fd/${name#*=}" "$root/dev/${name%=*}"; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/packages"
mount --bind "$PACKAGES" "$root/packages"
cd "$root"
pivot_root . mnt
umount --lazy /mnt
echo "the system stands"
sleep infinity & wait
"""


class DebianRoot(SystemRoot):
    """A minimal Debian, with nothing of virtcard in it; `packages` is its /packages. Made by `debian_root`."""

    setup = _SETUP

    def __init__(self, directory: Path, packages: Path) -> None:
        """`directory` is empty."""
        super().__init__(directory)
        self.packages = packages

    def variables(self) -> dict[str, str]:
        """What the script is told."""
        return {"FILES": str(self.directory / "files"), "CLEAN": str(CLEAN), "PACKAGES": str(self.packages)}

    def apt(self, *words: str) -> str:
        """What apt-get says. It has no network: what may be installed is there."""
        options = ("--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0")
        together = ("sh", "-c", 'exec "$@" 2>&1', "sh")
        words = ("unshare", "--net", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, *words)
        return self.check(*together, *words, patience=APT_PATIENCE)


@contextmanager
def debian_root(packages: Path) -> Iterator[DebianRoot]:
    """A clean Debian, running; nothing is left of it afterwards."""
    directory = Path(mkdtemp(prefix="vd-", dir="/tmp"))
    directory.chmod(0o755)
    root = DebianRoot(directory, packages)
    try:
        root.start()
        yield root
    finally:
        root.stop()
        rmtree(directory)


def as_version(package: Path, version: str, folder: Path) -> Path:
    """The same package with another version, that of virtcard in it too."""
    tree = folder / f"tree-{package.stem}"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    for file in tree.glob("usr/lib/virtcard/lib/python3.*/site-packages/virtcard/version.py"):
        file.write_text(re.sub(r"(?m)^VERSION = .*$", f'VERSION = "{version}"', file.read_text()))
    made = folder / f"{package.name.partition('_')[0]}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", "-z1", str(tree), str(made)], check=True, capture_output=True)
    rmtree(tree)
    return made
